/** The server's questions and answers. Every answer is parsed by `wire.ts` before anybody sees it. */

import type { ConsoleLine, Run, RunOrigin, Series } from "./model/run";
import { parseConsole, parseOrigin, parseRun, parseRuns, parseSeries } from "./wire";

const BASE = "/api/v1";
const PAGE = 200;
/** The table holds this many of the newest runs at most. */
export const MAX_RUNS = 2000;
/** A chart is narrower than this many pixels; the server thins longer series. */
const MAX_POINTS = 1000;
/** So many metrics go into one question; addresses have a length. */
export const MAX_METRICS = 20;
const TOKEN_KEY = "flashtrial.token";

/** Thrown when the server cannot be reached. */
export class Unreachable extends Error {}

/** Thrown when the server answered, but not with what was asked for. */
export class Refused extends Error {
  constructor(
    readonly status: number,
    what: string,
  ) {
    super(what);
  }
}

/** Kept for this tab only: off loopback the server wants it with every call. */
export function rememberToken(token: string): void {
  sessionStorage.setItem(TOKEN_KEY, token);
}

/** One GET. Raises `Unreachable` or `Refused`; an abort is passed on. */
export async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const token = sessionStorage.getItem(TOKEN_KEY);
  const headers = {
    ...(init.headers as Record<string, string>),
    ...(token ? { Authorization: `Bearer ${token}` } : {}),
  };
  const response = await fetch(BASE + path, { ...init, headers }).catch((error: unknown) => {
    if (init.signal?.aborted) throw error;
    throw new Unreachable(`no answer from ${location.host}`);
  });
  if (!response.ok) throw new Refused(response.status, `${path}: ${response.status} ${response.statusText}`);
  return response;
}

async function json(path: string): Promise<unknown> {
  const response = await ask(path);
  return response.json();
}

/** The newest runs, all pages of them up to `MAX_RUNS`. */
export async function fetchRuns(): Promise<Run[]> {
  const runs = new Map<string, Run>();
  let cursor: string | null = null;
  do {
    const page: { runs: Run[]; next: string | null } = parseRuns(
      await json(`/runs?limit=${PAGE}${cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`}`),
    );
    for (const run of page.runs) runs.set(run.id, run);
    cursor = page.runs.length > 0 ? page.next : null;
  } while (cursor !== null && runs.size < MAX_RUNS);
  return [...runs.values()];
}

/** One run, or `null` when there is none with that id. */
export async function fetchRun(id: string): Promise<Run | null> {
  try {
    return parseRun(await json(`/runs/${encodeURIComponent(id)}`));
  } catch (error) {
    if (error instanceof Refused && error.status === 404) return null;
    throw error;
  }
}

/** Some metrics of a run, by name; at most `MAX_METRICS` at once. */
export async function fetchSeries(runId: string, metrics: readonly string[]): Promise<Map<string, Series>> {
  const names = metrics.map((metric) => `name=${encodeURIComponent(metric)}`).join("&");
  return parseSeries(await json(`/runs/${encodeURIComponent(runId)}/metrics?${names}&points=${MAX_POINTS}`));
}

/** Where a run ran, and why it ended as it did. */
export async function fetchOrigin(id: string): Promise<RunOrigin> {
  return parseOrigin(await json(`/runs/${encodeURIComponent(id)}`));
}

/** The next console lines behind the line with id `after`; from the start for 0. Empty when there are no more. */
export async function fetchConsole(runId: string, after: number): Promise<ConsoleLine[]> {
  return parseConsole(await json(`/runs/${encodeURIComponent(runId)}/console?after=${after}`));
}
