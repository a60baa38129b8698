/** Labels of axes: short, and exact at the round numbers that axes choose. */

const UNITS: readonly (readonly [number, string])[] = [
  [1e9, "G"],
  [1e6, "M"],
  [1e3, "k"],
];

/** `0.25`, `1,000` as `1k`, `2.5M`, `1e-5`. */
export function formatAxis(value: number): string {
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e12))
    return value
      .toExponential()
      .replace("e+", "e")
      .replace(/(\.\d\d)\d+e/, "$1e");
  const [unit, sign] = UNITS.find(([least]) => size >= least) ?? [1, ""];
  // Sums of binary fractions: 0.1 + 0.2 is shown as 0.3.
  return `${Number((value / unit).toPrecision(6))}${sign}`;
}

/** A length in seconds as `45s`, `1:30`, `2:05:00`, `3d`. */
export function formatLength(seconds: number): string {
  if (seconds < 60) return `${Number(seconds.toPrecision(6))}s`;
  if (seconds >= 86_400 && seconds % 86_400 === 0) return `${seconds / 86_400}d`;
  const parts = [Math.floor(seconds / 3600), Math.floor(seconds / 60) % 60, Math.round(seconds) % 60];
  const [hours = 0, ...rest] = parts;
  const tail = rest.map((part) => String(part).padStart(2, "0")).join(":");
  return hours > 0 ? `${hours}:${tail}` : tail.replace(/^0/, "");
}

/** A time of day, or the day where ticks are days apart, in the reader's own time zone: `14:05`, `14:05:30`, `Nov 3`. */
export function formatClock(seconds: number, increment: number): string {
  const moment = new Date(seconds * 1000);
  if (increment >= 86_400) return moment.toLocaleDateString("en-US", { month: "short", day: "numeric" });
  const [hours, minutes, rest] = [moment.getHours(), moment.getMinutes(), moment.getSeconds()].map((part) =>
    String(part).padStart(2, "0"),
  );
  return increment >= 60 ? `${hours}:${minutes}` : `${hours}:${minutes}:${rest}`;
}
