/**
 * The language of the filter box: words, all of which must hold.
 *
 *   digits lr            words found in the name, project, status, tags, id or a configuration value
 *   status:running       a field holds a text; fields: name, project, status, tag, id, any configuration key or metric
 *   lr<=0.01 acc>0.9     a field compared with a number (or with a text: = and != only)
 *   -tag:old             not
 *   "two words"          quotes keep a word together
 */

import { textOf } from "./config";
import { titleOf, type Run } from "./run";

type Operator = ":" | "=" | "!=" | "<" | "<=" | ">" | ">=";

interface Term {
  readonly negated: boolean;
  readonly field: string | null;
  readonly operator: Operator;
  readonly wanted: string;
}

export type Predicate = (run: Run) => boolean;

/** A test for runs. There is no wrong input; a word still being typed (`-`, `status:`) holds for all. */
export function parseFilter(text: string): Predicate {
  const terms = words(text)
    .map(parseTerm)
    .filter((term) => term.wanted !== "");
  return (run) => terms.every((term) => holds(run, term) !== term.negated);
}

function words(text: string): string[] {
  return (text.match(/(?:"[^"]*"?|[^\s"])+/g) ?? [])
    .map((word) => word.replaceAll('"', ""))
    .filter((word) => word !== "");
}

function parseTerm(word: string): Term {
  const negated = word.startsWith("-");
  const bare = negated ? word.slice(1) : word;
  const match = /^([^:=<>!]+)(:|!=|<=|>=|=|<|>)(.*)$/.exec(bare);
  if (match === null) return { negated, field: null, operator: ":", wanted: bare };
  const [, field = "", operator = ":", wanted = ""] = match;
  return { negated, field, operator: operator as Operator, wanted };
}

function holds(run: Run, term: Term): boolean {
  if (term.field === null) return everything(run).some((text) => contains(text, term.wanted));
  const found = lookUp(run, term.field);
  // A colon that is no field of this run may be part of a name.
  if (found.length === 0 && term.operator === ":")
    return everything(run).some((text) => contains(text, `${term.field}:${term.wanted}`));
  return term.operator === "!="
    ? !found.some((text) => matches(text, "=", term.wanted))
    : found.some((text) => matches(text, term.operator, term.wanted));
}

function matches(found: string, operator: Operator, wanted: string): boolean {
  if (operator === ":") return contains(found, wanted);
  const [left, right] = [toNumber(found), toNumber(wanted)];
  if (operator === "=") return found.toLowerCase() === wanted.toLowerCase() || left === right;
  switch (operator) {
    case "<":
      return left < right;
    case "<=":
      return left <= right;
    case ">":
      return left > right;
    case ">=":
      return left >= right;
    default:
      return false;
  }
}

function lookUp(run: Run, field: string): string[] {
  switch (field.toLowerCase()) {
    case "name":
      return [titleOf(run)];
    case "project":
      return [run.project];
    case "status":
      return [run.status];
    case "tag":
    case "tags":
      return [...run.tags];
    case "id":
      return [run.id];
  }
  return [...namedLike(run.config, field).map(textOf), ...namedLike(run.summary, field).map(String)];
}

/** The values whose key is `field`, or ends in it after a dot or slash: `lr` finds `optimizer.lr`. */
function namedLike<Value>(map: ReadonlyMap<string, Value>, field: string): Value[] {
  const low = field.toLowerCase();
  const names = [...map.keys()].filter(
    (key) =>
      key.toLowerCase() === low || (/[./]/.test(key.at(-low.length - 1) ?? "") && key.toLowerCase().endsWith(low)),
  );
  return names.map((name) => map.get(name) as Value);
}

function everything(run: Run): string[] {
  return [titleOf(run), run.project, run.status, run.id, ...run.tags, ...[...run.config.values()].map(textOf)];
}

function contains(text: string, part: string): boolean {
  return text.toLowerCase().includes(part.toLowerCase());
}

function toNumber(text: string): number {
  return text.trim() === "" ? NaN : Number(text);
}
