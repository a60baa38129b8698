/** All runs that pass the filter, one a row, sorted; only the rows in view are in the page when there are many. */

import { useRef, useState } from "preact/hooks";
import { columnsFor, type Column } from "../model/columns";
import { best, goalOf } from "../model/metric";
import { nextSort, sortRuns, type Sort } from "../model/sorting";
import { isActive, type Run } from "../model/run";
import { app } from "../state/app";
import { prefs } from "../state/prefs";
import { useStore } from "../state/store";
import { chooseAll } from "../model/drawn";
import { useNow, useTheme } from "./hooks";
import { RunRow } from "./RunRow";
import { RunsHead } from "./RunsHead";

const ROW_PX = 36;
/** Fewer rows than this are all in the page, so that the browser's own search finds them. */
const WINDOW_FROM = 150;
const MARGIN_ROWS = 15;

interface Props {
  readonly runs: readonly Run[];
  readonly columns: readonly Column[];
  readonly drawn: ReadonlySet<string>;
}

export function RunsTable({ runs, columns, drawn }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const [scroll, setScroll] = useState({ top: 0, height: 600 });
  const sort = useStore(prefs, (state) => state.sort);
  const colours = useStore(app, (state) => state.colours);
  const theme = useTheme();
  const now = useNow(runs.some((run) => isActive(run.status)) ? 1000 : 30_000);
  const by =
    columns.find((column) => column.key === sort.column) ?? columnsFor([]).find((column) => column.kind === "created");
  const sorted = by === undefined ? runs : sortRuns(runs, by, sort.direction, now);
  const [first, end] = windowOf(sorted.length, scroll);
  const bests = new Map(
    columns.filter((column) => column.kind === "metric").map((column) => [column.key, bestOf(runs, column)]),
  );

  const onSort = (column: Column) => prefs.set({ sort: nextSort(sort as Sort, column) });
  const onDrawAll = (draw: boolean) => app.set({ choices: chooseAll(app.get().choices, runs, draw) });
  const onScroll = () => box.current && setScroll({ top: box.current.scrollTop, height: box.current.clientHeight });
  return (
    <div class="table-box" ref={box} onScroll={onScroll} tabIndex={0} role="region" aria-label="Runs, scrollable">
      <table class="runs" data-testid="runs-table" aria-rowcount={sorted.length + 1}>
        <RunsHead
          columns={columns}
          sort={sort}
          onSort={onSort}
          drawn={runs.filter((run) => drawn.has(run.id)).length}
          all={runs.length}
          onDrawAll={onDrawAll}
        />
        <tbody>
          {first > 0 && <Spacer rows={first} />}
          {sorted.slice(first, end).map((run, index) => (
            <RunRow
              key={run.id}
              run={run}
              rowIndex={first + index + 2}
              columns={columns}
              bests={bests}
              drawn={drawn.has(run.id)}
              number={colours.get(run.id) ?? 0}
              theme={theme}
              now={now}
            />
          ))}
          {end < sorted.length && <Spacer rows={sorted.length - end} />}
        </tbody>
      </table>
    </div>
  );
}

function Spacer({ rows }: { readonly rows: number }) {
  return <tr aria-hidden="true" style={{ height: `${rows * ROW_PX}px` }} />;
}

function windowOf(count: number, scroll: { top: number; height: number }): [number, number] {
  if (count < WINDOW_FROM) return [0, count];
  const first = Math.floor(scroll.top / ROW_PX) - MARGIN_ROWS;
  const end = Math.ceil((scroll.top + scroll.height) / ROW_PX) + MARGIN_ROWS;
  return [Math.max(0, Math.min(first, count)), Math.min(count, end)];
}

function bestOf(runs: readonly Run[], column: Column): number | null {
  return best(
    runs.map((run) => run.summary.get(column.label) ?? NaN),
    goalOf(column.label),
  );
}
