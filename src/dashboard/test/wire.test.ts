import { expect, test } from "vitest";
import { backoffMs, splitEvents } from "../src/events";
import { BadAnswer, parseChanged, parseConsole, parseRuns, parseSeries } from "../src/wire";

const RUN = {
  id: "r",
  project: "p",
  name: "n",
  status: "running",
  tags: ["t"],
  config: { a: { b: 1 } },
  summary: { loss: "NaN" },
  points: { loss: 3 },
  created_ms: 1,
  updated_ms: 2,
};

test("a run is read with its flat configuration and numbers that JSON cannot write", () => {
  const { runs, next } = parseRuns({ runs: [RUN], next: "5-7" });
  expect(runs[0]?.config.get("a.b")).toBe(1);
  expect(runs[0]?.summary.get("loss")).toBeNaN();
  expect(next).toBe("5-7");
});

test.each([
  [null],
  [[]],
  [{}],
  [{ runs: [{}] }],
  [{ runs: [{ ...RUN, status: "dancing" }] }],
  [{ runs: [{ ...RUN, summary: { loss: "much" } }] }],
])("an answer of another shape is refused: %j", (answer) => expect(() => parseRuns(answer)).toThrow(BadAnswer));

test("one series and several are read alike", () => {
  const one = {
    name: "loss",
    points: [
      [1, 1000, "NaN"],
      [2, 2000, "-Infinity"],
    ],
  };
  expect(parseSeries(one).get("loss")).toEqual({ steps: [1, 2], timesMs: [1000, 2000], values: [NaN, -Infinity] });
  expect([...parseSeries({ series: [one, { name: "acc", points: [] }] }).keys()]).toEqual(["loss", "acc"]);
});

test("console lines and changes are read", () => {
  expect(parseConsole({ lines: [{ id: 4, time_ms: 1, stream: "stderr", line: 1, text: "x" }] })).toEqual([
    { id: 4, timeMs: 1, stream: "stderr", text: "x" },
  ]);
  expect(parseChanged('{"runs":["a","b"]}')).toEqual(["a", "b"]);
});

test("events are split where they end, comments passed over, half an event kept", () => {
  const { events, rest } = splitEvents(": hi\n\nevent: changed\ndata: {}\n\nevent: chan");
  expect(events).toEqual([{ name: "changed", data: "{}" }]);
  expect(rest).toBe("event: chan");
});

test("waits grow to half a minute and are never nothing", () => {
  expect([1, 2, 3, 9].map((failures) => backoffMs(failures, 1))).toEqual([1000, 2000, 4000, 30_000]);
  expect(backoffMs(9, 0)).toBe(300);
});
