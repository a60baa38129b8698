import type { Run } from "../src/model/run";

/** A run with what matters to a test; the rest is plain. */
export function run(id: string, fields: Partial<Run> = {}): Run {
  return {
    id,
    project: "p",
    name: id,
    status: "finished",
    tags: [],
    config: new Map(),
    summary: new Map(),
    points: new Map(),
    createdMs: 1000,
    updatedMs: 2000,
    ...fields,
  };
}
