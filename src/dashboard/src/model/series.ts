/** From points as they were logged to the columns that a chart draws. */

import { smooth } from "./smoothing";
import type { Series } from "./run";

export const X_AXES = ["step", "time", "relative"] as const;
export type XAxis = (typeof X_AXES)[number];

export interface View {
  readonly xAxis: XAxis;
  /** In [0, 1): see `smooth`. */
  readonly smoothing: number;
  readonly logY: boolean;
}

/** x ascends strictly; `null` in y is a gap: the chart draws no line over it. */
export interface Curve {
  readonly x: readonly number[];
  readonly y: readonly (number | null)[];
}

/** `raw` without smoothing; `main` with it. The same array when there is none. */
export interface Curves {
  readonly raw: Curve;
  readonly main: Curve;
}

/**
 * What is drawn of `series` of a run that began at `startMs`. x: steps, or seconds. A step that was logged twice
 * counts once: the later value.
 */
export function curvesOf(series: Series, view: View, startMs: number): Curves {
  const { x, values } = ordered(xValues(series, view.xAxis, startMs), series.values);
  const raw = { x, y: values.map((value) => drawable(value, view.logY)) };
  if (view.smoothing <= 0) return { raw, main: raw };
  return { raw, main: { x, y: smooth(values, view.smoothing).map((value) => drawable(value, view.logY)) } };
}

/** How many points a curve shows. */
export function countPoints(curve: Curve): number {
  return curve.y.reduce<number>((count, value) => count + Number(value !== null), 0);
}

function xValues(series: Series, axis: XAxis, startMs: number): number[] {
  switch (axis) {
    case "step":
      return [...series.steps];
    case "time":
      return series.timesMs.map((time) => time / 1000);
    case "relative":
      return series.timesMs.map((time) => (time - startMs) / 1000);
  }
}

function ordered(x: readonly number[], values: readonly number[]): { x: number[]; values: number[] } {
  const order = x.map((_, index) => index).sort((a, b) => at(x, a) - at(x, b) || a - b);
  const last = order.filter((index, place) => {
    const next = order[place + 1];
    return next === undefined || at(x, next) !== at(x, index);
  });
  return { x: last.map((index) => at(x, index)), values: last.map((index) => at(values, index)) };
}

function at(values: readonly number[], index: number): number {
  return values[index] ?? NaN;
}

/** A logarithm is not defined at zero and below; NaN and infinities have no place on any axis. */
function drawable(value: number, logY: boolean): number | null {
  return Number.isFinite(value) && (!logY || value > 0) ? value : null;
}
