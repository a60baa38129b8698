/**
 * Exponential moving average without the bias towards zero at the start (as in Adam, Kingma & Ba 2014, section 3):
 * `weight` in [0, 1) is how much of the past is kept. NaN and infinities pass through as they are and do not count.
 */
export function smooth(values: readonly number[], weight: number): number[] {
  if (weight <= 0) return [...values];
  let average = 0;
  let kept = 1;
  return values.map((value) => {
    if (!Number.isFinite(value)) return value;
    average = weight * average + (1 - weight) * value;
    kept *= weight;
    return average / (1 - kept);
  });
}
