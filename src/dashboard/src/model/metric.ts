/** What the name of a metric tells about it. */

export type Goal = "lower" | "higher";

const LOWER =
  /(^|[^a-z])(loss|err|error|mae|mse|rmse|perplexity|ppl|wer|cer|fid|nll|regret|latency|seconds|time)([^a-z]|$)/i;
const HIGHER =
  /(^|[^a-z])(acc|accuracy|auc|auroc|f1|map|precision|recall|score|bleu|rouge|reward|iou|dice|r2|psnr|ssim|throughput)([^a-z]|$)/i;

/** Whether a lower or a higher value is better, as far as the name says it; `null` when it does not. */
export function goalOf(metric: string): Goal | null {
  if (LOWER.test(metric)) return "lower";
  return HIGHER.test(metric) ? "higher" : null;
}

/** The best of `values` for `goal`; `null` when there are fewer than two to compare. */
export function best(values: readonly number[], goal: Goal | null): number | null {
  const finite = values.filter(Number.isFinite);
  if (goal === null || finite.length < 2) return null;
  return goal === "lower" ? Math.min(...finite) : Math.max(...finite);
}

/** Figures of the machine, which nobody sorts runs by. */
export function isSystem(metric: string): boolean {
  return metric.startsWith("system/") || metric.startsWith("sys/");
}
