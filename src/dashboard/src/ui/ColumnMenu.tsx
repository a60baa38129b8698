/** Which columns the table shows. */

import { useState } from "preact/hooks";
import type { Column } from "../model/columns";
import { prefs } from "../state/prefs";
import { useStore } from "../state/store";
import { Popover } from "./Popover";

/** Those of `columns` that are shown; the name always is. */
export function shownColumns(columns: readonly Column[], chosen: Readonly<Record<string, boolean>>): Column[] {
  return columns.filter((column) => column.kind === "name" || (chosen[column.key] ?? column.usual));
}

/** More than this are found by their name only. */
const LISTED = 100;

export function ColumnMenu({ columns }: { readonly columns: readonly Column[] }) {
  const [search, setSearch] = useState("");
  const chosen = useStore(prefs, (state) => state.columns);
  const listed = columns.filter(
    (column) => column.kind !== "name" && column.label.toLowerCase().includes(search.trim().toLowerCase()),
  );
  const shown = new Set(shownColumns(columns, chosen));
  const choose = (column: Column, show: boolean) => prefs.set({ columns: { ...chosen, [column.key]: show } });
  const hidden = columns.length - shown.size;
  return (
    <Popover label={hidden > 0 ? `Columns · ${hidden} hidden` : "Columns"}>
      <input
        type="search"
        class="search"
        placeholder="Find a column"
        aria-label="Find a column"
        value={search}
        onInput={(event) => setSearch(event.currentTarget.value)}
      />
      <fieldset class="checks">
        <legend>Columns</legend>
        {listed.slice(0, LISTED).map((column) => (
          <label key={column.key}>
            <input
              type="checkbox"
              checked={shown.has(column)}
              onChange={(event) => choose(column, event.currentTarget.checked)}
            />
            <span class="what">{column.label}</span>
            {(column.kind === "metric" || column.kind === "config") && <span class="kind">{column.kind}</span>}
          </label>
        ))}
        {listed.length > LISTED && <p class="hint">{listed.length - LISTED} more</p>}
      </fieldset>
      <button type="button" class="quiet" onClick={() => prefs.set({ columns: {} })}>
        Reset
      </button>
    </Popover>
  );
}
