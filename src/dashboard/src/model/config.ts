/** Configurations as flat maps, and which of their keys tell runs apart. */

import type { Json, Run } from "./run";

/** `{"a": {"b": 1}, "c": [1, 2]}` becomes `a.b → 1, c → [1, 2]`. Lists stay whole; so does an empty map. */
export function flatten(value: { [key: string]: Json }, prefix = ""): Map<string, Json> {
  const flat = new Map<string, Json>();
  for (const [key, item] of Object.entries(value)) {
    const path = prefix + key;
    if (isMap(item) && Object.keys(item).length > 0) {
      for (const [inner, leaf] of flatten(item, `${path}.`)) flat.set(inner, leaf);
    } else {
      flat.set(path, item);
    }
  }
  return flat;
}

/** The keys whose values are not the same in all of `runs`, in alphabetical order; missing counts as a value. */
export function differingKeys(runs: readonly Run[]): string[] {
  const first = runs[0];
  if (first === undefined) return [];
  const keys = new Set(runs.flatMap((run) => [...run.config.keys()]));
  return [...keys]
    .filter((key) => runs.some((run) => textOf(run.config.get(key)) !== textOf(first.config.get(key))))
    .sort();
}

/** A configuration value as people read it; nothing for a missing one. */
export function textOf(value: Json | undefined): string {
  if (value === undefined) return "";
  return typeof value === "string" ? value : JSON.stringify(value);
}

function isMap(value: Json): value is { [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
