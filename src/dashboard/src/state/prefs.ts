/** How this user likes to look at things, remembered in this browser. */

import type { Theme } from "../model/colours";
import { X_AXES, type XAxis } from "../model/series";
import { NEWEST_FIRST, type Sort } from "../model/sorting";
import { Store } from "./store";

export interface Prefs {
  /** `null`: as the system says. */
  readonly theme: Theme | null;
  readonly xAxis: XAxis;
  readonly smoothing: number;
  readonly logY: boolean;
  /** Charts that differ from `logY`. */
  readonly logYOf: Readonly<Record<string, boolean>>;
  readonly sort: Sort;
  readonly closedSections: readonly string[];
  /** Columns shown or hidden against the rule. */
  readonly columns: Readonly<Record<string, boolean>>;
}

const KEY = "flashtrial.prefs"; // public/theme.js reads it too

const USUAL: Prefs = {
  theme: null,
  xAxis: "step",
  smoothing: 0,
  logY: false,
  logYOf: {},
  sort: NEWEST_FIRST,
  closedSections: [],
  columns: {},
};

export const prefs = new Store<Prefs>(load());
prefs.subscribe(save);

/** Whatever of the remembered text still makes sense, the usual for the rest. */
export function parsePrefs(text: string | null): Prefs {
  const found = parseMap(text);
  return {
    theme: found["theme"] === "dark" || found["theme"] === "light" ? found["theme"] : null,
    xAxis: X_AXES.find((axis) => axis === found["xAxis"]) ?? USUAL.xAxis,
    smoothing:
      typeof found["smoothing"] === "number" ? Math.min(0.99, Math.max(0, found["smoothing"])) : USUAL.smoothing,
    logY: found["logY"] === true,
    logYOf: flags(found["logYOf"]),
    sort: parseSort(found["sort"]),
    closedSections: Array.isArray(found["closedSections"]) ? found["closedSections"].map(String) : [],
    columns: flags(found["columns"]),
  };
}

function parseMap(text: string | null): { [key: string]: unknown } {
  try {
    const value: unknown = JSON.parse(text ?? "{}");
    return typeof value === "object" && value !== null ? (value as { [key: string]: unknown }) : {};
  } catch {
    return {}; // somebody else's text under our key
  }
}

function parseSort(value: unknown): Sort {
  const { column, direction } = (value ?? {}) as { [key: string]: unknown };
  if (typeof column !== "string" || (direction !== "ascending" && direction !== "descending")) return NEWEST_FIRST;
  return { column, direction };
}

function flags(value: unknown): Record<string, boolean> {
  if (typeof value !== "object" || value === null) return {};
  return Object.fromEntries(
    Object.entries(value).filter((entry): entry is [string, boolean] => typeof entry[1] === "boolean"),
  );
}

function load(): Prefs {
  try {
    return parsePrefs(localStorage.getItem(KEY));
  } catch {
    return USUAL; // storage is forbidden: remembered for this page only
  }
}

function save(): void {
  try {
    localStorage.setItem(KEY, JSON.stringify(prefs.get()));
  } catch {
    // storage is full or forbidden: remembered for this page only
  }
}
