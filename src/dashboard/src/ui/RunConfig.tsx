import { useMemo, useState } from "preact/hooks";
import { differingKeys, textOf } from "../model/config";
import { byName } from "../model/sections";
import type { Run } from "../model/run";
import { app } from "../state/app";
import { useStore } from "../state/store";

/** The run's configuration, flat; keys that tell it from other runs of its project are marked. */
export function RunConfig({ run }: { readonly run: Run }) {
  const [search, setSearch] = useState("");
  const runs = useStore(app, (state) => state.runs);
  const differing = useMemo(
    () => new Set(differingKeys((runs ?? []).filter((other) => other.project === run.project))),
    [runs, run.project],
  );
  const entries = [...run.config].filter(([key]) => key.toLowerCase().includes(search.trim().toLowerCase()));
  return (
    <aside class="config-card" aria-label="Configuration" data-testid="config">
      <div class="toolbar">
        <h2>Configuration</h2>
        {run.config.size > 8 && (
          <input
            type="search"
            class="search"
            placeholder="Find a key"
            aria-label="Find a key"
            value={search}
            onInput={(event) => setSearch(event.currentTarget.value)}
          />
        )}
      </div>
      {run.config.size === 0 && <p class="hint">None was given to init().</p>}
      <table>
        <tbody>
          {entries
            .sort(([a], [b]) => byName(a, b))
            .map(([key, value]) => (
              <tr
                key={key}
                class={differing.has(key) ? "differs" : ""}
                title={differing.has(key) ? "Differs between the runs of this project" : ""}
              >
                <th scope="row">{key}</th>
                <td>{textOf(value)}</td>
              </tr>
            ))}
        </tbody>
      </table>
    </aside>
  );
}
