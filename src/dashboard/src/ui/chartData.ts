/** The lines of one chart and the columns under them, joined over all its runs. */

import uPlot from "uplot";
import { colour, type Theme } from "../model/colours";
import type { Run, Series } from "../model/run";
import { countPoints, curvesOf, type Curve, type View } from "../model/series";
import type { Line } from "./plot";

export interface ChartData {
  readonly lines: readonly Line[];
  readonly columns: uPlot.AlignedData;
  /** Faint lines come first; `runs[i]` is line `firstMain + i`. */
  readonly firstMain: number;
  readonly runs: readonly Run[];
  /** Points that the chart shows, faint lines not counted. */
  readonly drawn: number;
  /** Values that no axis can hold: NaN and infinities. */
  readonly notFinite: number;
}

/** Runs whose series is not loaded yet are left out. */
export function chartData(
  runs: readonly Run[],
  series: readonly (Series | undefined)[],
  view: View,
  colours: ReadonlyMap<string, number>,
  theme: Theme,
): ChartData {
  const loaded = runs.flatMap((run, index) => {
    const found = series[index];
    return found === undefined
      ? []
      : [{ run, found, curves: curvesOf(found, view, run.createdMs), stroke: colour(colours.get(run.id) ?? 0, theme) }];
  });
  const faint =
    view.smoothing > 0
      ? loaded.map((one) => ({ curve: one.curves.raw, line: { colour: one.stroke, faint: true } }))
      : [];
  const main = loaded.map((one) => ({ curve: one.curves.main, line: { colour: one.stroke, faint: false } }));
  const all = [...faint, ...main];
  return {
    lines: all.map((one) => one.line),
    columns: join(all.map((one) => one.curve)),
    firstMain: faint.length,
    runs: loaded.map((one) => one.run),
    drawn: main.reduce((sum, one) => sum + countPoints(one.curve), 0),
    notFinite: loaded.reduce((sum, one) => sum + one.found.values.filter((value) => !Number.isFinite(value)).length, 0),
  };
}

/** One x column for all; where a curve has no point its column has `undefined`, which a line passes over; `null` is a gap. */
function join(curves: readonly Curve[]): uPlot.AlignedData {
  if (curves.length === 0) return [[]];
  return uPlot.join(curves.map((curve) => [[...curve.x], [...curve.y]]));
}
