/** What comes from the server, checked piece by piece. Nothing else in the page looks at raw JSON. */

import { flatten } from "./model/config";
import { STATUSES, type ConsoleLine, type Json, type Run, type RunOrigin, type Series, type Status } from "./model/run";

/** Thrown when an answer is not of the shape that was agreed. */
export class BadAnswer extends Error {}

export type Fields = { readonly [key: string]: unknown };

export function parseRuns(answer: unknown): { runs: Run[]; next: string | null } {
  const fields = asFields(answer, "the list of runs");
  return {
    runs: asList(fields["runs"], "runs").map(parseRun),
    next: fields["next"] == null ? null : String(fields["next"]),
  };
}

export function parseRun(answer: unknown): Run {
  const fields = asFields(answer, "a run");
  return {
    id: asText(fields["id"], "id"),
    project: asText(fields["project"] ?? "", "project"),
    name: asText(fields["name"] ?? "", "name"),
    status: asStatus(fields["status"]),
    tags: asList(fields["tags"] ?? [], "tags").map(String),
    config: flatten(asFields(fields["config"] ?? {}, "config") as { [key: string]: Json }),
    summary: asNumbers(fields["summary"] ?? {}, "summary"),
    points: asNumbers(fields["points"] ?? {}, "points"),
    createdMs: asNumber(fields["created_ms"], "created_ms"),
    updatedMs: asNumber(fields["updated_ms"] ?? fields["created_ms"], "updated_ms"),
  };
}

/** One series, or the list of them that the answer to several names is. */
export function parseSeries(answer: unknown): Map<string, Series> {
  const fields = asFields(answer, "metrics");
  const all =
    fields["series"] === undefined
      ? [fields]
      : asList(fields["series"], "series").map((one) => asFields(one, "a series"));
  return new Map(all.map((one) => [asText(one["name"], "name"), parsePoints(one["points"])]));
}

function parsePoints(value: unknown): Series {
  const points = asList(value, "points").map((point) => asList(point, "a point"));
  return {
    steps: points.map(([step], index) => (step == null ? index : asNumber(step, "step"))),
    timesMs: points.map(([, time]) => asNumber(time, "time_ms")),
    values: points.map(([, , value]) => asNumber(value, "value")),
  };
}

export function parseOrigin(answer: unknown): RunOrigin {
  const { host, reason } = asFields(answer, "a run");
  return { host: host == null ? null : asText(host, "host"), reason: reason == null ? null : asText(reason, "reason") };
}

export function parseConsole(answer: unknown): ConsoleLine[] {
  return asList(asFields(answer, "console")["lines"], "lines").map((item) => {
    const line = asFields(item, "a console line");
    return {
      id: asNumber(line["id"], "id"),
      stream: line["stream"] === "stderr" ? "stderr" : "stdout",
      timeMs: asNumber(line["time_ms"], "time_ms"),
      text: asText(line["text"], "text"),
    };
  });
}

/** The ids of the runs that changed. */
export function parseChanged(data: string): string[] {
  return asList(asFields(JSON.parse(data), "an event")["runs"], "runs").map(String);
}

function asFields(value: unknown, what: string): Fields {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new BadAnswer(`${what} is no object`);
  return value as Fields;
}

function asList(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw new BadAnswer(`${what} is no list`);
  return value;
}

function asText(value: unknown, what: string): string {
  if (typeof value !== "string") throw new BadAnswer(`${what} is no text`);
  return value;
}

function asStatus(value: unknown): Status {
  const known = STATUSES.find((status) => status === value);
  if (known === undefined) throw new BadAnswer(`unknown status ${String(value)}`);
  return known;
}

/** A number, also as JSON has to write those it has no sign for: "NaN", "Infinity", "-Infinity"; null is NaN. */
function asNumber(value: unknown, what: string): number {
  if (typeof value === "number") return value;
  if (value === null || value === "NaN") return NaN;
  if (value === "Infinity") return Infinity;
  if (value === "-Infinity") return -Infinity;
  throw new BadAnswer(`${what} is no number`);
}

function asNumbers(value: unknown, what: string): Map<string, number> {
  return new Map(
    Object.entries(asFields(value, what)).map(([name, item]) => [name, asNumber(item, `${what}.${name}`)]),
  );
}
