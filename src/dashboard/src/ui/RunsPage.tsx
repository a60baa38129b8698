/** The first page: what runs there are, and the chosen ones over each other. */

import { useMemo } from "preact/hooks";
import { columnsFor } from "../model/columns";
import { drawnRuns } from "../model/drawn";
import { parseFilter } from "../model/filter";
import { app } from "../state/app";
import { prefs } from "../state/prefs";
import { useStore } from "../state/store";
import { ChartSections } from "./ChartSections";
import { ColumnMenu, shownColumns } from "./ColumnMenu";
import { Loading, NoRuns } from "./Empty";
import { FilterBox } from "./FilterBox";
import { RunsTable } from "./RunsTable";
import { StatusCounts } from "./StatusCounts";

export function RunsPage() {
  const runs = useStore(app, (state) => state.runs);
  const query = useStore(app, (state) => state.query);
  const choices = useStore(app, (state) => state.choices);
  const chosen = useStore(prefs, (state) => state.columns);
  const found = useMemo(() => (runs ?? []).filter(parseFilter(query)), [runs, query]);
  const columns = useMemo(() => columnsFor(found), [found]);
  const drawn = useMemo(() => drawnRuns(found, choices), [found, choices]);
  if (runs === null) return <Loading />;
  if (runs.length === 0) return <NoRuns />;
  return (
    <main>
      <div class="toolbar">
        <h1>Runs</h1>
        <StatusCounts runs={runs} query={query} />
        <span class="spring" />
        <FilterBox query={query} found={found.length} all={runs.length} />
        <ColumnMenu columns={columns} />
      </div>
      {found.length > 0 ? (
        <RunsTable runs={found} columns={shownColumns(columns, chosen)} drawn={new Set(drawn.map((run) => run.id))} />
      ) : (
        <p class="hint" role="status">
          No run passes the filter.
        </p>
      )}
      <ChartSections runs={drawn} />
    </main>
  );
}
