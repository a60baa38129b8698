import type { Column } from "../model/columns";
import type { Sort } from "../model/sorting";

interface Props {
  readonly columns: readonly Column[];
  readonly sort: Sort;
  readonly onSort: (column: Column) => void;
  readonly drawn: number;
  readonly all: number;
  readonly onDrawAll: (draw: boolean) => void;
}

const NUMERIC = new Set(["metric", "duration"]);

/** Headings that sort, and the box that ticks every run. */
export function RunsHead({ columns, sort, onSort, drawn, all, onDrawAll }: Props) {
  return (
    <thead>
      <tr>
        <th scope="col" class="tick">
          <input
            type="checkbox"
            aria-label="Draw all runs"
            title="Draw all, or none"
            checked={drawn > 0 && drawn === all}
            indeterminate={drawn > 0 && drawn < all}
            onChange={(event) => onDrawAll(event.currentTarget.checked)}
          />
        </th>
        {columns.map((column) => (
          <th
            key={column.key}
            scope="col"
            class={`${column.kind}${NUMERIC.has(column.kind) ? " number" : ""}`}
            aria-sort={sort.column === column.key ? sort.direction : "none"}
            data-column={column.key}
          >
            <button type="button" onClick={() => onSort(column)} title={titleOf(column)}>
              <span>{column.label}</span>
              <i class="arrow" aria-hidden="true" />
            </button>
          </th>
        ))}
      </tr>
    </thead>
  );
}

function titleOf(column: Column): string {
  switch (column.kind) {
    case "metric":
      return `Last value of ${column.label}; click to sort`;
    case "config":
      return `Configuration: ${column.label}; click to sort`;
    default:
      return `Sort by ${column.label.toLowerCase()}`;
  }
}
