/** The order of the runs table. */

import { cellOf, type Cell, type Column } from "./columns";
import { goalOf } from "./metric";
import type { Run } from "./run";
import { byName } from "./sections";

export type Direction = "ascending" | "descending";

export interface Sort {
  readonly column: string;
  readonly direction: Direction;
}

export const NEWEST_FIRST: Sort = { column: "created", direction: "descending" };

/** `runs` by `column`; runs without a value, NaN too, are last in both directions; ties: newest first. */
export function sortRuns(runs: readonly Run[], column: Column, direction: Direction, nowMs: number): Run[] {
  const sign = direction === "ascending" ? 1 : -1;
  const keyed = runs.map((run) => ({ run, cell: present(cellOf(run, column, nowMs)) }));
  keyed.sort((a, b) => {
    if (a.cell === null || b.cell === null)
      return Number(a.cell === null) - Number(b.cell === null) || newer(a.run, b.run);
    return sign * compare(a.cell, b.cell) || newer(a.run, b.run);
  });
  return keyed.map(({ run }) => run);
}

/** The sort after a click on `column`: best (or first) on top, then the other way round, then as it was at the start. */
export function nextSort(now: Sort, column: Column): Sort {
  const first = firstDirection(column);
  if (now.column !== column.key) return { column: column.key, direction: first };
  if (now.direction === first) return { column: column.key, direction: opposite(first) };
  return column.key === NEWEST_FIRST.column ? { column: column.key, direction: first } : NEWEST_FIRST;
}

function firstDirection(column: Column): Direction {
  if (column.kind === "metric") return goalOf(column.label) === "lower" ? "ascending" : "descending";
  return column.kind === "created" || column.kind === "duration" ? "descending" : "ascending";
}

function opposite(direction: Direction): Direction {
  return direction === "ascending" ? "descending" : "ascending";
}

function present(cell: Cell): Cell {
  return typeof cell === "number" && Number.isNaN(cell) ? null : cell;
}

function compare(a: number | string, b: number | string): number {
  if (typeof a === "number" && typeof b === "number") return a < b ? -1 : Number(a > b);
  return byName(String(a), String(b));
}

function newer(a: Run, b: Run): number {
  return b.createdMs - a.createdMs || (a.id < b.id ? 1 : -1);
}
