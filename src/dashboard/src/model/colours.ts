/** A run keeps its colour wherever it is drawn and however the table is sorted. */

import type { Run } from "./run";

export type Theme = "light" | "dark";

// Ordered so that the first few are as far from each other as can be; [hue, lightness shift] each.
const HUES: readonly (readonly [number, number])[] = [
  [258, 0],
  [58, 0.06],
  [150, 0],
  [345, 0.06],
  [298, -0.02],
  [200, 0.06],
  [98, 0.1],
  [22, -0.03],
  [278, 0.1],
  [125, 0.02],
  [228, 0.1],
  [320, 0],
];

/** `old` with a number for each run that had none: the oldest run gets the lowest number free. */
export function assignColours(old: ReadonlyMap<string, number>, runs: readonly Run[]): Map<string, number> {
  const numbers = new Map(old);
  const strangers = runs.filter((run) => !numbers.has(run.id));
  strangers.sort((a, b) => a.createdMs - b.createdMs || (a.id < b.id ? -1 : 1));
  for (const run of strangers) numbers.set(run.id, numbers.size);
  return numbers;
}

/** The colour with that number. From the thirteenth on hues come again, paler or darker: never quite the same. */
export function colour(number: number, theme: Theme): string {
  const [hue, shift] = HUES[number % HUES.length] ?? [0, 0];
  const round = Math.floor(number / HUES.length);
  const base = theme === "dark" ? 0.74 : 0.58;
  const lightness =
    base + (theme === "dark" ? shift / 2 : shift) + (round % 2 === 1 ? 0.1 : 0) - (round % 4 > 1 ? 0.08 : 0);
  const chroma = round % 2 === 1 ? 0.1 : 0.165;
  return `oklch(${lightness.toFixed(3)} ${chroma} ${(hue + round * 9) % 360})`;
}
