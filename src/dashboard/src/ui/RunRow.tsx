import { cellOf, type Column } from "../model/columns";
import { colour, type Theme } from "../model/colours";
import { formatAgo, formatDuration, formatNumber, formatTime } from "../model/format";
import { titleOf, type Run } from "../model/run";
import { app } from "../state/app";
import { follow, pathOf } from "../state/router";
import { StatusChip } from "./StatusChip";

interface Props {
  readonly run: Run;
  readonly rowIndex: number;
  readonly columns: readonly Column[];
  readonly bests: ReadonlyMap<string, number | null>;
  readonly drawn: boolean;
  readonly number: number;
  readonly theme: Theme;
  readonly now: number;
}

export function RunRow({ run, rowIndex, columns, bests, drawn, number, theme, now }: Props) {
  const onDraw = (draw: boolean) => app.set({ choices: new Map([...app.get().choices, [run.id, draw]]) });
  const onHover = (over: boolean) => app.set({ hovered: over ? run.id : null });
  return (
    <tr
      data-run-id={run.id}
      aria-rowindex={rowIndex}
      class={drawn ? "" : "undrawn"}
      onMouseEnter={() => onHover(true)}
      onMouseLeave={() => onHover(false)}
    >
      <td class="tick">
        <input
          type="checkbox"
          class="swatch"
          style={{ "--swatch": colour(number, theme) }}
          aria-label={`Draw ${titleOf(run)}`}
          checked={drawn}
          onChange={(event) => onDraw(event.currentTarget.checked)}
        />
      </td>
      {columns.map((column) => (
        <RunCell key={column.key} run={run} column={column} best={bests.get(column.key) ?? null} now={now} />
      ))}
    </tr>
  );
}

function RunCell({ run, column, best, now }: { run: Run; column: Column; best: number | null; now: number }) {
  switch (column.kind) {
    case "name":
      return <NameCell run={run} />;
    case "status":
      return (
        <td class="status">
          <StatusChip status={run.status} />
        </td>
      );
    case "tags":
      return (
        <td class="tags">
          {run.tags.map((tag) => (
            <span key={tag} class="tag">
              {tag}
            </span>
          ))}
        </td>
      );
    case "created":
      return (
        <td class="created">
          <time dateTime={new Date(run.createdMs).toISOString()} title={formatTime(run.createdMs)}>
            {formatAgo(run.createdMs, now)}
          </time>
        </td>
      );
    default:
      return <ValueCell run={run} column={column} best={best} now={now} />;
  }
}

function NameCell({ run }: { run: Run }) {
  const route = { page: "run", id: run.id } as const;
  return (
    <th scope="row" class="name">
      <a href={pathOf(route)} title={titleOf(run)} onClick={(event) => follow(event, route)}>
        {titleOf(run)}
      </a>
    </th>
  );
}

function ValueCell({ run, column, best, now }: { run: Run; column: Column; best: number | null; now: number }) {
  const cell = cellOf(run, column, now);
  if (cell === null || cell === "")
    return (
      <td class={`${column.kind} nothing`}>
        <span aria-label="no value">–</span>
      </td>
    );
  if (typeof cell === "string")
    return (
      <td class={column.kind} title={cell}>
        {cell}
      </td>
    );
  const winner = best !== null && cell === best;
  const text = textOf(column, cell);
  return (
    <td
      class={`${column.kind} number${winner ? " best" : ""}${Number.isFinite(cell) ? "" : " odd"}`}
      title={winner ? `${cell}, the best of these runs` : String(cell)}
    >
      {text}
    </td>
  );
}

/** Configuration as it was written; what was measured, rounded. */
function textOf(column: Column, cell: number): string {
  if (column.kind === "config") return String(cell);
  return column.kind === "duration" ? formatDuration(cell) : formatNumber(cell);
}
