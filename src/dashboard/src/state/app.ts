/** What the page knows: runs and series as the server told them, and what the user is looking at. */

import { assignColours } from "../model/colours";
import type { Choices } from "../model/drawn";
import type { Run, Series } from "../model/run";
import { Store } from "./store";

export type Connection = "connecting" | "live" | "disconnected";

export interface AppState {
  /** Newest first; `null` until the server has answered once. */
  readonly runs: readonly Run[] | null;
  readonly colours: ReadonlyMap<string, number>;
  readonly series: ReadonlyMap<string, Series>;
  readonly connection: Connection;
  /** When the next attempt is due, in wall milliseconds; only while disconnected. */
  readonly retryAtMs: number;
  /** The server wants a token that we do not have. */
  readonly locked: boolean;
  readonly choices: Choices;
  readonly query: string;
  readonly hovered: string | null;
}

export const app = new Store<AppState>({
  runs: null,
  colours: new Map(),
  series: new Map(),
  connection: "connecting",
  retryAtMs: 0,
  locked: false,
  choices: new Map(),
  query: new URLSearchParams(location.search).get("q") ?? "",
  hovered: null,
});

/** Put `news` in the place of what was known of those runs. */
export function updateRuns(news: readonly Run[]): void {
  const byId = new Map((app.get().runs ?? []).map((run) => [run.id, run]));
  for (const run of news) byId.set(run.id, run);
  setRuns([...byId.values()]);
}

/** These are all the runs there are. */
export function setRuns(runs: readonly Run[]): void {
  const newestFirst = [...runs].sort((a, b) => b.createdMs - a.createdMs || (a.id < b.id ? 1 : -1));
  app.set({ runs: newestFirst, colours: assignColours(app.get().colours, runs) });
}

export function setQuery(query: string): void {
  app.set({ query });
  const search = query === "" ? "" : `?q=${encodeURIComponent(query)}`;
  history.replaceState(null, "", location.pathname + search);
}
