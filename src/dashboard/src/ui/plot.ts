/** How a chart looks: options for uPlot, which draws on a canvas. */

import type uPlot from "uplot";
import { formatAxis, formatClock, formatLength } from "./ticks";
import { indexNear } from "../model/nearest";
import type { XAxis } from "../model/series";

export interface PlotStyle {
  readonly xAxis: XAxis;
  readonly logY: boolean;
  readonly ink: string;
  readonly grid: string;
  readonly font: string;
}

/** One line: `faint` for the raw values under a smoothed line. */
export interface Line {
  readonly colour: string;
  readonly faint: boolean;
}

/** Charts of one page move their cursors together. */
const SYNC_KEY = "flashtrial";

export function plotOptions(lines: readonly Line[], style: PlotStyle, hooks: uPlot.Hooks.Arrays): uPlot.Options {
  return {
    width: 100,
    height: 100,
    padding: [10, 12, 0, 0],
    legend: { show: false },
    focus: { alpha: 0.25 },
    cursor: {
      // A cursor that another chart moves says nothing about our lines.
      focus: {
        prox: 16,
        dist: (plot, _series, _index, valueTop, cursorTop) =>
          plot.over.matches(":hover") ? cursorTop - valueTop : Infinity,
      },
      sync: { key: SYNC_KEY, setSeries: false, scales: ["x", null] },
      drag: { x: true, y: false, setScale: true },
      points: { size: 7, width: 1.5 },
      dataIdx: (plot, series, index) => indexNear(plot.data[series] ?? [], index, (at) => pixelsAway(plot, at, index)),
    },
    scales: {
      x: { time: style.xAxis === "time", range: (_, min, max) => (min === max ? [min - 0.5, max + 0.5] : [min, max]) },
      y: style.logY ? { distr: 3, range: logRange } : { distr: 1 },
    },
    axes: [xAxis(style), yAxis(style)],
    series: [{}, ...lines.map(series)],
    hooks,
  };
}

function series(line: Line): uPlot.Series {
  return {
    stroke: line.colour,
    width: line.faint ? 1 : 1.8,
    alpha: line.faint ? 0.28 : 1,
    points: { size: 4, fill: line.colour, show: line.faint ? false : alone },
  };
}

/** A point is marked where lines are long enough to lose it: so that chunks can be told apart. */
function alone(plot: uPlot, index: number, first: number, last: number): boolean {
  const column = plot.data[index] ?? [];
  const drawn = plot.data[0].map((_, at) => at).filter((at) => at >= first && at <= last && column[at] != null);
  const [left, right] = [drawn[0], drawn.at(-1)];
  if (left === undefined || right === undefined) return false;
  return drawn.length < 3 || pixelsAway(plot, left, right) / (drawn.length - 1) > 14;
}

function pixelsAway(plot: uPlot, a: number, b: number): number {
  const x = plot.data[0];
  return Math.abs(plot.valToPos(x[a] ?? NaN, "x") - plot.valToPos(x[b] ?? NaN, "x"));
}

function logRange(_: uPlot, min: number | null, max: number | null): [number, number] {
  if (min === null || max === null || !(min > 0)) return [0.1, 1];
  return min === max ? [min / 2, max * 2] : [min * 0.9, max * 1.1];
}

function xAxis(style: PlotStyle): uPlot.Axis {
  const base: uPlot.Axis = { ...axis(style), space: 64, size: 28, gap: 6 };
  switch (style.xAxis) {
    case "step":
      return { ...base, incrs: STEPS, values: (_, splits) => splits.map(formatAxis) };
    case "relative":
      return { ...base, incrs: SECONDS, values: (_, splits) => splits.map(formatLength) };
    case "time":
      return {
        ...base,
        values: (_plot, splits, _index, _space, increment) => splits.map((split) => formatClock(split, increment)),
      };
  }
}

function yAxis(style: PlotStyle): uPlot.Axis {
  return {
    ...axis(style),
    size: labelWidth,
    gap: 8,
    space: 34,
    values: (_, splits) => splits.map((split) => (split === null ? "" : formatAxis(split))),
  };
}

function axis(style: PlotStyle): uPlot.Axis {
  return {
    stroke: style.ink,
    font: style.font,
    grid: { stroke: style.grid, width: 1 },
    ticks: { show: false },
    border: { show: false },
  };
}

function labelWidth(plot: uPlot, labels: string[] | null, index: number): number {
  const axis = plot.axes[index];
  if (labels === null || axis === undefined) return 40;
  plot.ctx.save();
  plot.ctx.font = String(Array.isArray(axis.font) ? axis.font[0] : axis.font);
  const widest = Math.max(0, ...labels.map((label) => plot.ctx.measureText(label ?? "").width));
  plot.ctx.restore();
  return Math.ceil(widest / devicePixelRatio) + 16;
}

/** Whole steps only: there is no step 2.5. */
const STEPS = [1, 2, 5]
  .flatMap((digit) => Array.from({ length: 12 }, (_, power) => digit * 10 ** power))
  .sort((a, b) => a - b);
const MINUTE = 60;
const HOUR = 3600;
const SECONDS = [
  0.01,
  0.02,
  0.05,
  0.1,
  0.2,
  0.5,
  1,
  2,
  5,
  10,
  15,
  30,
  ...[1, 2, 5, 10, 15, 30].map((count) => count * MINUTE),
  ...[1, 2, 3, 6, 12, 24, 48, 96, 240, 480, 1200].map((count) => count * HOUR),
];
