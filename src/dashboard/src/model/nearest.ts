/** Which point of a curve belongs to the cursor when curves do not share their x values. */

/** Beyond its ends a curve answers only this near, in pixels: a run that ended long ago has no value here. */
const REACH = 24;

/**
 * The index of the drawn value of `values` nearest to `index`, or `null`. `distance` gives pixels from an index to the
 * cursor. Between two drawn values the nearer one answers, however far it is.
 */
export function indexNear(
  values: ArrayLike<number | null | undefined>,
  index: number,
  distance: (index: number) => number,
): number | null {
  const left = scan(values, index, -1);
  const right = scan(values, index, 1);
  if (left === null && right === null) return null;
  if (left === null || right === null) {
    const only = left ?? right ?? index;
    return distance(only) <= REACH ? only : null;
  }
  return distance(left) <= distance(right) ? left : right;
}

function scan(values: ArrayLike<number | null | undefined>, from: number, step: 1 | -1): number | null {
  for (let index = from; index >= 0 && index < values.length; index += step) if (values[index] != null) return index;
  return null;
}
