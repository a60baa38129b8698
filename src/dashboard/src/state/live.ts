/**
 * Keeps `app` as the server has it: one stream of changes while the page is visible; what changed is asked for again,
 * at most once a second; after a break everything is.
 */

import { fetchRun, fetchRuns, Refused } from "../api";
import { backoffMs, listen, type ServerEvent } from "../events";
import { parseChanged } from "../wire";
import { app, setRuns, updateRuns } from "./app";
import { loadMissing, retryFailed } from "./loader";

const THROTTLE_MS = 1000;
/** With more changed runs than this, one list is cheaper than single questions. */
const MANY = 8;

const changed = new Set<string>();
let allChanged = false;
/** A flush is due or under way: there is never more than one, so that an old answer cannot overtake a newer one. */
let flushing = false;
let lastFlushMs = -Infinity;
let stream: AbortController | null = null;

/** Begin, for as long as the page lives. Called once. */
export function startLive(): void {
  // A hidden page holds no connection: browsers allow six to a server, over all of its tabs.
  document.addEventListener("visibilitychange", () => (document.hidden ? stream?.abort() : reconnect()));
  reconnect();
}

/** Try now, however long the wait would still have been. */
export function reconnect(): void {
  stream?.abort();
  stream = new AbortController();
  void stayConnected(stream.signal);
}

async function stayConnected(signal: AbortSignal): Promise<void> {
  let failures = 0;
  const opened = () => {
    failures = 0;
    app.set({ connection: "live", locked: false });
    refreshAll();
  };
  while (!signal.aborted) {
    await listen(signal, opened, take).catch((error: unknown) => {
      if (error instanceof Refused && error.status === 401) app.set({ locked: true });
    });
    if (signal.aborted) return;
    failures += 1;
    const waitMs = backoffMs(failures, Math.random());
    app.set({ connection: "disconnected", retryAtMs: Date.now() + waitMs });
    await pause(waitMs, signal);
  }
}

function pause(waitMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, waitMs);
    signal.addEventListener("abort", () => (clearTimeout(timer), resolve()), { once: true });
  });
}

/** Ask for everything: at the start, and after a time in which changes may have been missed. */
function refreshAll(): void {
  allChanged = true;
  retryFailed();
  scheduleFlush(0);
}

function take(event: ServerEvent): void {
  if (event.name !== "changed") return;
  for (const id of parseChanged(event.data)) changed.add(id);
  scheduleFlush(lastFlushMs + THROTTLE_MS - performance.now());
}

function scheduleFlush(waitMs: number): void {
  if (flushing) return;
  flushing = true;
  setTimeout(flush, Math.max(0, waitMs));
}

async function flush(): Promise<void> {
  const ids = [...changed];
  const all = allChanged || ids.length > MANY;
  changed.clear();
  allChanged = false;
  try {
    if (all) setRuns(await fetchRuns());
    else updateRuns((await Promise.all(ids.map(fetchRun))).filter((run) => run !== null));
    await loadMissing();
  } catch (error) {
    console.info("not refreshed", error); // the stream notices when the server is away, and refreshes when it is back
  }
  // Counted from the end of the answer, so that a slow server is not asked ever more.
  lastFlushMs = performance.now();
  flushing = false;
  if (changed.size > 0 || allChanged) scheduleFlush(THROTTLE_MS);
}
