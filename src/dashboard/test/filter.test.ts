import { expect, test } from "vitest";
import { parseFilter } from "../src/model/filter";
import { run } from "./support";

const one = run("run_1", {
  name: "ResNet: big",
  status: "running",
  tags: ["base line", "v2"],
  config: new Map<string, number | string>([
    ["optimizer.lr", 0.01],
    ["data", "digits"],
  ]),
  summary: new Map([["val/acc", 0.93]]),
});

test.each([
  "",
  "resnet",
  "resnet running",
  "status:run",
  "tag:v2",
  'tag:"base line"',
  "lr=0.01",
  "optimizer.lr<=1e-2",
  "lr!=0.1",
  "acc>0.9",
  "data=Digits",
  "-status:failed",
  "status:",
  "project:p",
  "id:run_1",
  "-",
  "-status:",
  '"',
  "lr<",
  "ResNet:",
  "digits",
])("passes: %s", (query) => expect(parseFilter(query)(one)).toBe(true));

test.each([
  "vgg",
  "resnet vgg",
  "status:failed",
  "-tag:v2",
  "lr>0.01",
  "lr!=0.01",
  "acc<0.9",
  "missing=1",
  "data>3",
  "r=0.01",
  "missing:x",
])("does not pass: %s", (query) => expect(parseFilter(query)(one)).toBe(false));
