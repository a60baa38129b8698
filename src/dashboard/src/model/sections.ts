/** Charts come in sections, by what stands before the first "/" of the metric's name. */

export interface Section {
  readonly title: string;
  readonly metrics: readonly string[];
}

/** Where metrics without a prefix go. Shown first. */
export const PLAIN = "Metrics";
const LAST = new Set(["system", "sys", "gpu", "cpu", "memory"]);

export function sectionOf(metric: string): string {
  const slash = metric.indexOf("/");
  return slash > 0 ? metric.slice(0, slash) : PLAIN;
}

/** The metric's name inside its section. */
export function shortName(metric: string): string {
  const slash = metric.indexOf("/");
  return slash > 0 && slash < metric.length - 1 ? metric.slice(slash + 1) : metric;
}

/** Plain metrics first, then the sections by name, figures of the machine last; metrics by name, numbers as numbers. */
export function groupBySection(metrics: Iterable<string>): Section[] {
  const byTitle = new Map<string, string[]>();
  for (const metric of new Set(metrics)) {
    const title = sectionOf(metric);
    byTitle.set(title, [...(byTitle.get(title) ?? []), metric]);
  }
  return [...byTitle]
    .map(([title, names]) => ({ title, metrics: names.sort(byName) }))
    .sort((a, b) => rank(a.title) - rank(b.title) || byName(a.title, b.title));
}

function rank(title: string): number {
  if (title === PLAIN) return 0;
  return LAST.has(title) ? 2 : 1;
}

const collator = new Intl.Collator("en", { numeric: true });

export function byName(a: string, b: string): number {
  return collator.compare(a, b);
}
