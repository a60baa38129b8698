/** Which series to ask the server for: those on the screen that are missing or have grown since. */

import type { Run } from "./run";

export interface SeriesKey {
  readonly runId: string;
  readonly metric: string;
}

export function keyText(key: SeriesKey): string {
  return `${key.runId}\n${key.metric}`;
}

/** The metrics of one run that go into one question. */
export interface Question {
  readonly runId: string;
  readonly metrics: readonly string[];
}

/** `keys` as questions about one run each, of at most `most` metrics; each key once. */
export function questionsFor(keys: readonly SeriesKey[], most: number): Question[] {
  const byRun = new Map<string, Set<string>>();
  for (const { runId, metric } of keys) byRun.set(runId, (byRun.get(runId) ?? new Set()).add(metric));
  return [...byRun].flatMap(([runId, metrics]) => chunks([...metrics], most).map((some) => ({ runId, metrics: some })));
}

function chunks<Item>(items: readonly Item[], most: number): Item[][] {
  return Array.from({ length: Math.ceil(items.length / most) }, (_, index) =>
    items.slice(index * most, (index + 1) * most),
  );
}

/**
 * What to fetch. `have` tells how many points a series had when it was last asked for. Metrics in the order given, so
 * that the topmost charts fill first.
 */
export function missingSeries(
  runs: readonly Run[],
  metrics: Iterable<string>,
  have: (key: SeriesKey) => number | undefined,
): SeriesKey[] {
  const wanted: SeriesKey[] = [];
  for (const metric of metrics) {
    for (const run of runs) {
      const count = run.points.get(metric) ?? 0;
      const key = { runId: run.id, metric };
      if (count > 0 && have(key) !== count) wanted.push(key);
    }
  }
  return wanted;
}
