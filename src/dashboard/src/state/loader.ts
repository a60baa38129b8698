/** Fetches the series that charts on the screen ask for, a few at a time, and again when they have grown. */

import { fetchSeries, MAX_METRICS } from "../api";
import { keyText, missingSeries, questionsFor, type Question } from "../model/plan";
import type { Run, Series } from "../model/run";
import { app } from "./app";

interface Demand {
  readonly metric: string;
  readonly runIds: readonly string[];
}

const AT_ONCE = 4;
/** Questions, and answers, that come within this time are taken together. */
const GATHER_MS = 60;

const demands = new Map<symbol, Demand>();
/** How many points a series had when it was asked for; also for those that failed, until they grow. */
const asked = new Map<string, number>();
let arrived = new Map<string, Series>();
let busy = false;

/** A chart came into view, or draws other runs now. Returns how to end it. */
export function demandSeries(metric: string, runIds: readonly string[]): () => void {
  const token = Symbol(metric);
  demands.set(token, { metric, runIds });
  void loadMissing();
  return () => demands.delete(token);
}

/** Forget which questions failed; called when the server is back. */
export function retryFailed(): void {
  const { series } = app.get();
  for (const key of [...asked.keys()]) if (!series.has(key)) asked.delete(key);
}

/** Fetch until nothing on the screen is missing. Safe to call at any time: while one works a second does nothing. */
export async function loadMissing(): Promise<void> {
  if (busy) return;
  busy = true;
  // Charts that come into view together ask together.
  await new Promise((resolve) => setTimeout(resolve, GATHER_MS));
  for (let next = missing(); next.length > 0; next = missing()) await Promise.all(next.slice(0, AT_ONCE).map(load));
  busy = false;
}

function missing(): Question[] {
  const runs = runsById();
  const keys = [...demands.values()].flatMap(({ metric, runIds }) => {
    const drawn = runIds.map((id) => runs.get(id)).filter((run) => run !== undefined);
    return missingSeries(drawn, [metric], (key) => asked.get(keyText(key)));
  });
  return questionsFor(keys, MAX_METRICS);
}

function runsById(): Map<string, Run> {
  return new Map((app.get().runs ?? []).map((run) => [run.id, run]));
}

/** Ask one question; never raises. */
async function load({ runId, metrics }: Question): Promise<void> {
  const points = runsById().get(runId)?.points;
  for (const metric of metrics) asked.set(keyText({ runId, metric }), points?.get(metric) ?? 0);
  try {
    for (const [metric, series] of await fetchSeries(runId, metrics)) deliver(keyText({ runId, metric }), series);
  } catch (error) {
    // Asked again when the run grows or the server is back; the page says elsewhere that it is away.
    console.info("series not loaded", runId, metrics, error);
  }
}

function deliver(key: string, series: Series): void {
  if (arrived.size === 0) setTimeout(commit, GATHER_MS);
  arrived.set(key, series);
}

function commit(): void {
  const news = arrived;
  arrived = new Map();
  app.set({ series: new Map([...app.get().series, ...news]) });
}
