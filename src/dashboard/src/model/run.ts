/** What the server tells of a run, in the shapes the rest of the page uses. Values only; parsed in `api.ts`. */

export const STATUSES = ["created", "running", "finished", "failed", "stopped", "interrupted", "lost"] as const;
export type Status = (typeof STATUSES)[number];

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

export interface Run {
  readonly id: string;
  readonly project: string;
  readonly name: string;
  readonly status: Status;
  readonly tags: readonly string[];
  /** Flattened: `{"optimizer.lr": 0.1}` for `{"optimizer": {"lr": 0.1}}`. */
  readonly config: ReadonlyMap<string, Json>;
  /** The last value of each metric; NaN and infinities are numbers like any other. */
  readonly summary: ReadonlyMap<string, number>;
  /** How many points each metric has. */
  readonly points: ReadonlyMap<string, number>;
  readonly createdMs: number;
  readonly updatedMs: number;
}

/** What only the run's own page tells. */
export interface RunOrigin {
  readonly host: string | null;
  /** Why the run is in its state, as far as somebody said. */
  readonly reason: string | null;
}

/** Columns of equal length, in the order they were logged. */
export interface Series {
  readonly steps: readonly number[];
  readonly timesMs: readonly number[];
  readonly values: readonly number[];
}

export interface ConsoleLine {
  /** Ascends in the order of arrival; where to read on from. */
  readonly id: number;
  readonly stream: "stdout" | "stderr";
  readonly timeMs: number;
  readonly text: string;
}

export function isActive(status: Status): boolean {
  return status === "running" || status === "created";
}

/** The name to show: a run without one is known by its id. */
export function titleOf(run: Run): string {
  return run.name || run.id;
}
