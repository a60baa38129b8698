import { expect, test } from "vitest";
import { columnsFor, durationMs } from "../src/model/columns";
import { differingKeys, flatten } from "../src/model/config";
import { run } from "./support";

test("nested configuration is flat, lists stay whole", () => {
  expect([...flatten({ a: { b: 1, c: { d: [1, 2] } }, e: {} })]).toEqual([
    ["a.b", 1],
    ["a.c.d", [1, 2]],
    ["e", {}],
  ]);
});

test("a key differs when a value does or when it is missing somewhere", () => {
  const runs = [
    run("a", {
      config: new Map([
        ["lr", 1],
        ["same", 1],
      ]),
    }),
    run("b", {
      config: new Map([
        ["lr", 2],
        ["same", 1],
        ["new", 1],
      ]),
    }),
  ];
  expect(differingKeys(runs)).toEqual(["lr", "new"]);
});

test("metrics of every run are columns, plain ones first; figures of the machine are there but not shown", () => {
  const runs = [
    run("a", {
      summary: new Map([
        ["train/x", 1],
        ["loss", 1],
      ]),
    }),
    run("b", {
      summary: new Map([
        ["acc", 1],
        ["system/cpu", 1],
      ]),
    }),
  ];
  const metrics = columnsFor(runs).filter((column) => column.kind === "metric");
  expect(metrics.map((column) => column.label)).toEqual(["acc", "loss", "train/x", "system/cpu"]);
  expect(metrics.filter((column) => !column.usual).map((column) => column.label)).toEqual(["system/cpu"]);
});

test("a run that goes on lasts until now, one that ended until its end", () => {
  expect(durationMs(run("a", { status: "running" }), 9000)).toBe(8000);
  expect(durationMs(run("a"), 9000)).toBe(1000);
});
