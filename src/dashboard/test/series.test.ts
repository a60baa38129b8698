import { expect, test } from "vitest";
import { countPoints, curvesOf } from "../src/model/series";

const plain = { xAxis: "step", smoothing: 0, logY: false } as const;

function series(steps: number[], values: number[]) {
  return { steps, timesMs: steps.map((step) => 5000 + step * 1000), values };
}

test("steps that go back are put in order and the later of two values at a step counts", () => {
  const { main } = curvesOf(series([1, 2, 3, 2], [10, 20, 30, 21]), plain, 0);
  expect(main).toEqual({ x: [1, 2, 3], y: [10, 21, 30] });
});

test("values that are not finite are gaps", () => {
  const { main } = curvesOf(series([1, 2, 3], [1, NaN, Infinity]), plain, 0);
  expect(main.y).toEqual([1, null, null]);
  expect(countPoints(main)).toBe(1);
});

test("a logarithmic axis has no place for zero and below", () => {
  expect(curvesOf(series([1, 2, 3], [0, -1, 2]), { ...plain, logY: true }, 0).main.y).toEqual([null, null, 2]);
});

test("relative time counts from the start of the run, in seconds", () => {
  expect(curvesOf(series([1, 2], [1, 1]), { ...plain, xAxis: "relative" }, 4000).main.x).toEqual([2, 3]);
});

test("wall time is in seconds", () => {
  expect(curvesOf(series([1], [1]), { ...plain, xAxis: "time" }, 0).main.x).toEqual([6]);
});

test("smoothing keeps what was logged beside it", () => {
  const { raw, main } = curvesOf(series([1, 2], [0, 1]), { ...plain, smoothing: 0.5 }, 0);
  expect(raw.y).toEqual([0, 1]);
  expect(main.y[1]).toBeCloseTo(2 / 3);
});
