import { expect, test } from "vitest";
import { columnsFor, type Column } from "../src/model/columns";
import { NEWEST_FIRST, nextSort, sortRuns } from "../src/model/sorting";
import { run } from "./support";

const runs = [
  run("a", { summary: new Map([["loss", 2]]), createdMs: 1 }),
  run("b", { summary: new Map([["loss", NaN]]), createdMs: 2 }),
  run("c", { summary: new Map([["loss", 1]]), createdMs: 3 }),
  run("d", { createdMs: 4 }),
];

function column(key: string): Column {
  return columnsFor(runs).find((column) => column.key === key)!;
}

function ids(key: string, direction: "ascending" | "descending") {
  return sortRuns(runs, column(key), direction, 0)
    .map((run) => run.id)
    .join("");
}

test("runs without a value come last in both directions, the newest of them first", () => {
  expect(ids("metric:loss", "ascending")).toBe("cadb");
  expect(ids("metric:loss", "descending")).toBe("acdb");
});

test("names sort as people count", () => {
  const numbered = [run("trial-10"), run("trial-9")];
  expect(sortRuns(numbered, column("name"), "ascending", 0).map((run) => run.id)).toEqual(["trial-9", "trial-10"]);
});

test("clicks lead from the best first over the worst first back to the newest first", () => {
  const first = nextSort(NEWEST_FIRST, column("metric:loss"));
  const second = nextSort(first, column("metric:loss"));
  expect([first.direction, second.direction]).toEqual(["ascending", "descending"]);
  expect(nextSort(second, column("metric:loss"))).toEqual(NEWEST_FIRST);
});
