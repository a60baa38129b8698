import { expect, test } from "vitest";
import { assignColours, colour } from "../src/model/colours";
import { chooseAll, drawnRuns, USUALLY_DRAWN } from "../src/model/drawn";
import { best, goalOf } from "../src/model/metric";
import { indexNear } from "../src/model/nearest";
import { missingSeries, questionsFor } from "../src/model/plan";
import { groupBySection, shortName } from "../src/model/sections";
import { run } from "./support";

test("sections by what stands before the first slash, plain metrics first and the machine last", () => {
  const sections = groupBySection(["val/acc", "loss", "system/gpu/0", "train/b", "train/a10", "train/a9", "/odd"]);
  expect(sections.map(({ title, metrics }) => `${title}: ${metrics.join(" ")}`)).toEqual([
    "Metrics: /odd loss",
    "train: train/a9 train/a10 train/b",
    "val: val/acc",
    "system: system/gpu/0",
  ]);
  expect(["train/a/b", "loss", "/odd", "odd/"].map(shortName)).toEqual(["a/b", "loss", "/odd", "odd/"]);
});

test("a run keeps its colour when others come", () => {
  const first = assignColours(new Map(), [run("b", { createdMs: 2 }), run("a", { createdMs: 1 })]);
  expect([...first]).toEqual([
    ["a", 0],
    ["b", 1],
  ]);
  expect(assignColours(first, [run("0", { createdMs: 0 }), run("a"), run("b")]).get("a")).toBe(0);
});

test("forty colours are forty different ones in both themes", () => {
  for (const theme of ["light", "dark"] as const) {
    expect(new Set(Array.from({ length: 40 }, (_, number) => colour(number, theme))).size).toBe(40);
  }
});

test("the newest runs are drawn unless the user said otherwise", () => {
  const runs = Array.from({ length: 20 }, (_, index) => run(`r${index}`, { createdMs: index }));
  expect(drawnRuns(runs, new Map()).length).toBe(USUALLY_DRAWN);
  expect(
    drawnRuns(
      runs,
      new Map([
        ["r0", true],
        ["r19", false],
      ]),
    ).map((run) => run.id),
  ).toContain("r0");
  expect(drawnRuns(runs, chooseAll(new Map(), runs, false))).toEqual([]);
});

test("only series that are missing or have grown are asked for, a run's together", () => {
  const runs = [
    run("a", {
      points: new Map([
        ["x", 3],
        ["y", 1],
      ]),
    }),
    run("b", { points: new Map([["x", 0]]) }),
  ];
  const keys = missingSeries(runs, ["x", "y"], (key) => (key.metric === "y" ? 1 : 2));
  expect(keys).toEqual([{ runId: "a", metric: "x" }]);
  expect(questionsFor([...keys, ...keys, { runId: "a", metric: "y" }], 1)).toEqual([
    { runId: "a", metrics: ["x"] },
    { runId: "a", metrics: ["y"] },
  ]);
});

test("the name of a metric tells which end is better, where it does", () => {
  expect(["train/loss", "val_acc", "F1", "lossless", "steps"].map(goalOf)).toEqual([
    "lower",
    "higher",
    "higher",
    null,
    null,
  ]);
  expect(best([2, NaN, 1], "lower")).toBe(1);
  expect(best([2, NaN], "lower")).toBeNull();
});

test("a curve answers the cursor between its points wherever they are, beyond its ends only nearby", () => {
  const values = [undefined, 1, undefined, undefined, 2, undefined, undefined, undefined];
  const far = (index: number) => (at: number) => Math.abs(at - index) * 20;
  expect(indexNear(values, 2, far(2))).toBe(1);
  expect(indexNear(values, 5, far(5))).toBe(4);
  expect(indexNear(values, 7, far(7))).toBeNull();
});
