/** Which runs the charts show: those the user ticked, else the newest few. */

import type { Run } from "./run";

export const USUALLY_DRAWN = 12;

/** What the user said of single runs; silence is the rule of `drawnRuns`. */
export type Choices = ReadonlyMap<string, boolean>;

/** The runs to draw out of `runs`, in their order. */
export function drawnRuns(runs: readonly Run[], choices: Choices): Run[] {
  const newest = [...runs].sort((a, b) => b.createdMs - a.createdMs || (a.id < b.id ? 1 : -1)).slice(0, USUALLY_DRAWN);
  const usual = new Set(newest.map((run) => run.id));
  return runs.filter((run) => choices.get(run.id) ?? usual.has(run.id));
}

/** `choices` with all of `runs` set to `drawn`. */
export function chooseAll(choices: Choices, runs: readonly Run[], drawn: boolean): Map<string, boolean> {
  return new Map([...choices, ...runs.map((run) => [run.id, drawn] as const)]);
}
