import { expect, test } from "vitest";
import { formatAgo, formatDuration, formatNumber, plainLine } from "../src/model/format";
import { formatAxis, formatLength } from "../src/ui/ticks";

test.each([
  [0.123456, "0.1235"],
  [0.45, "0.4500"],
  [12.3456, "12.346"],
  [0.00123456, "0.00123"],
  [0.00001234, "1.23e−5"],
  [1.5e7, "1.50e7"],
  [1234567, "1,234,567"],
  [-3, "−3"],
  [43817.04, "43,817"],
  [1234.56, "1,234.6"],
  [0, "0"],
  [NaN, "NaN"],
  [-Infinity, "−∞"],
  [9.99999e-5, "1.00e−4"],
])("number %d is shown as %s", (value, text) => expect(formatNumber(value)).toBe(text));

test.each([
  [4200, "4.2 s"],
  [59_900, "59 s"],
  [192_000, "3 m 12 s"],
  [7_500_000, "2 h 05 m"],
  [273_600_000, "3 d 4 h"],
  [-1, ""],
])("%d ms are %s", (lengthMs, text) => expect(formatDuration(lengthMs)).toBe(text));

test("times long ago are dates", () => {
  const now = Date.UTC(2026, 10, 20);
  expect(
    [now - 1000, now - 300_000, now - 7_200_000, now - 86_400_000 * 3, Date.UTC(2026, 0, 2)].map((then) =>
      formatAgo(then, now),
    ),
  ).toEqual(["just now", "5 m ago", "2 h ago", "3 d ago", "2026-01-02"]);
});

test("lines are as a terminal leaves them", () => {
  expect(plainLine("\u001b[1;32mok\u001b[0m\n")).toBe("ok");
  expect(plainLine(" 10%\r 90%\r100%\r")).toBe("100%");
  expect(plainLine("\u001b]0;title\u0007text")).toBe("text");
});

test("labels of axes are short", () => {
  expect([0.1 + 0.2, 1000, 2_500_000, 1e-5, 0].map(formatAxis)).toEqual(["0.3", "1k", "2.5M", "1e-5", "0"]);
  expect([5, 90, 3600, 86_400].map(formatLength)).toEqual(["5s", "1:30", "1:00:00", "1d"]);
});
