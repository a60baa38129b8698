import { expect, test } from "vitest";
import { smooth } from "../src/model/smoothing";

test("a constant stays what it is from the first point on", () => {
  expect(smooth([3, 3, 3], 0.9).map((value) => value.toFixed(12))).toEqual(Array(3).fill("3.000000000000"));
});

test("without weight nothing changes", () => {
  expect(smooth([1, 5, 2], 0)).toEqual([1, 5, 2]);
});

test("the second of two values weighs more", () => {
  expect(smooth([0, 1], 0.5)[1]).toBeCloseTo(2 / 3);
});

test("NaN passes through and is not remembered", () => {
  expect(smooth([4, NaN, 4], 0.6)).toEqual([4, NaN, 4]);
});
