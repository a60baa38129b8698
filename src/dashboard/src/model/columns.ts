/** The columns of the runs table: which there are for a set of runs, and what stands in each. */

import { differingKeys, textOf } from "./config";
import { isSystem } from "./metric";
import { byName, groupBySection } from "./sections";
import { isActive, titleOf, type Json, type Run } from "./run";

export type Kind = "name" | "project" | "status" | "tags" | "created" | "duration" | "metric" | "config";

export interface Column {
  /** Unique, and the same tomorrow: what is remembered about a column is remembered by it. */
  readonly key: string;
  readonly kind: Kind;
  readonly label: string;
  /** Shown unless the user said otherwise. */
  readonly usual: boolean;
}

/** Wider tables than this are the user's choice. */
const USUAL_METRICS = 40;
const USUAL_KEYS = 30;

export type Cell = number | string | null;

function fixed(kind: Kind, label: string): Column {
  return { key: kind, kind, label, usual: true };
}

const NAME = fixed("name", "Name");
const PROJECT = fixed("project", "Project");
const STATUS = fixed("status", "Status");
const TAGS = fixed("tags", "Tags");
const CREATED = fixed("created", "Created");
const DURATION = fixed("duration", "Duration");

/** Every column that `runs` give cause for. A single run differs from nothing: all of its configuration is shown. */
export function columnsFor(runs: readonly Run[]): Column[] {
  const tags = runs.some((run) => run.tags.length > 0) ? [TAGS] : [];
  return [NAME, STATUS, ...metricColumns(runs), ...configColumns(runs), PROJECT, ...tags, CREATED, DURATION];
}

function metricColumns(runs: readonly Run[]): Column[] {
  const metrics = groupBySection(runs.flatMap((run) => [...run.summary.keys()])).flatMap((section) => section.metrics);
  return metrics.map((name, place) => ({
    key: `metric:${name}`,
    kind: "metric",
    label: name,
    usual: place < USUAL_METRICS && !isSystem(name),
  }));
}

function configColumns(runs: readonly Run[]): Column[] {
  const keys = runs.length === 1 ? [...(runs[0]?.config.keys() ?? [])] : differingKeys(runs);
  return keys
    .sort(byName)
    .map((name, place) => ({ key: `config:${name}`, kind: "config", label: name, usual: place < USUAL_KEYS }));
}

/** What stands in `column` for `run`: a number or text to sort by, `null` where there is nothing. */
export function cellOf(run: Run, column: Column, nowMs: number): Cell {
  switch (column.kind) {
    case "name":
      return titleOf(run);
    case "project":
      return run.project;
    case "status":
      return run.status;
    case "tags":
      return run.tags.join(" ") || null;
    case "created":
      return run.createdMs;
    case "duration":
      return durationMs(run, nowMs);
    case "metric":
      return run.summary.get(column.label) ?? null;
    case "config":
      return configCell(run.config.get(column.label));
  }
}

function configCell(value: Json | undefined): Cell {
  if (value === undefined) return null;
  return typeof value === "number" ? value : textOf(value);
}

/** How long the run took, or has taken until now. */
export function durationMs(run: Run, nowMs: number): number {
  return Math.max(0, (isActive(run.status) ? nowMs : run.updatedMs) - run.createdMs);
}
