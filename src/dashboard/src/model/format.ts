/** Numbers, times and lengths as people read them. */

/** Four decimals or so, alike enough that numbers of one column stand under each other; never more than ten characters. */
export function formatNumber(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (Number.isInteger(value) && size < 1e7) return value.toLocaleString("en-US").replace("-", "−");
  return digits(value, size).replaceAll("-", "−");
}

function digits(value: number, size: number): string {
  if (size < 1e-3 || size >= 1e6) return value.toExponential(2).replace("e+", "e");
  if (size < 0.01) return value.toPrecision(3);
  if (size >= 1000) return value.toLocaleString("en-US", { maximumFractionDigits: size < 10_000 ? 1 : 0 });
  return value.toFixed(size < 10 ? 4 : size < 100 ? 3 : 2);
}

/** `4.2 s`, `3 m 12 s`, `2 h 05 m`, `3 d 4 h`; nothing for a negative or unknown length. */
export function formatDuration(lengthMs: number): string {
  if (!Number.isFinite(lengthMs) || lengthMs < 0) return "";
  const seconds = lengthMs / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m ${pad(Math.floor(seconds % 60))} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${pad(minutes % 60)} m` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function pad(number: number): string {
  return String(number).padStart(2, "0");
}

/** `just now`, `5 m ago`, `3 h ago`, `2 d ago`, then the date. */
export function formatAgo(thenMs: number, nowMs: number): string {
  const minutes = (nowMs - thenMs) / 60_000;
  if (minutes < 1) return "just now";
  if (minutes < 60) return `${Math.floor(minutes)} m ago`;
  if (minutes < 60 * 24) return `${Math.floor(minutes / 60)} h ago`;
  if (minutes < 60 * 24 * 14) return `${Math.floor(minutes / 60 / 24)} d ago`;
  return new Date(thenMs).toISOString().slice(0, 10);
}

/** The local date and time to the second: `2026-11-03 14:05:09`. */
export function formatTime(timeMs: number): string {
  const local = new Date(timeMs - new Date(timeMs).getTimezoneOffset() * 60_000);
  return local.toISOString().slice(0, 19).replace("T", " ");
}

/** `text` without terminal colours, and as a terminal leaves it after carriage returns. */
export function plainLine(text: string): string {
  const bare = text.replace(/\u001b(?:\[[0-?]*[ -/]*[@-~]|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g, "");
  const parts = bare.replace(/[\r\n]+$/, "").split("\r");
  return parts[parts.length - 1] ?? "";
}
