import { STATUSES, type Run } from "../model/run";
import { setQuery } from "../state/app";

interface Props {
  readonly runs: readonly Run[];
  readonly query: string;
}

/** How many runs there are of each status; a click shows those only, another all again. */
export function StatusCounts({ runs, query }: Props) {
  const counts = STATUSES.map((status) => ({ status, count: runs.filter((run) => run.status === status).length }));
  return (
    <div class="counts" role="group" aria-label="Show by status">
      <button type="button" class="count-chip" aria-pressed={query === ""} onClick={() => setQuery("")}>
        All <b>{runs.length}</b>
      </button>
      {counts
        .filter(({ count }) => count > 0)
        .map(({ status, count }) => {
          const own = `status:${status}`;
          return (
            <button
              key={status}
              type="button"
              class={`count-chip chip ${status}`}
              aria-pressed={query === own}
              onClick={() => setQuery(query === own ? "" : own)}
            >
              <i aria-hidden="true" />
              {status} <b>{count}</b>
            </button>
          );
        })}
    </div>
  );
}
