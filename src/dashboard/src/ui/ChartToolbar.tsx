/** How all charts look: x axis, logarithm, smoothing, and which metrics. */

import { X_AXES, type XAxis } from "../model/series";
import { prefs } from "../state/prefs";
import { useStore } from "../state/store";

const LABELS: Record<XAxis, string> = { step: "Step", time: "Time", relative: "Relative" };
const HINTS: Record<XAxis, string> = {
  step: "By training step",
  time: "By the clock on the wall",
  relative: "By time since the run began",
};

interface Props {
  readonly search: string;
  readonly onSearch: (search: string) => void;
}

export function ChartToolbar({ search, onSearch }: Props) {
  const { xAxis, smoothing, logY } = useStore(prefs, (state) => state);
  return (
    <div class="toolbar" role="toolbar" aria-label="Charts">
      <h2>Charts</h2>
      <input
        type="search"
        class="search"
        placeholder="Find a metric"
        aria-label="Find a metric"
        value={search}
        onInput={(event) => onSearch(event.currentTarget.value)}
      />
      <span class="spring" />
      <fieldset class="segments">
        <legend>x axis</legend>
        {X_AXES.map((axis) => (
          <label key={axis} title={HINTS[axis]} class={axis === xAxis ? "on" : ""}>
            <input
              type="radio"
              name="x-axis"
              value={axis}
              checked={axis === xAxis}
              onChange={() => prefs.set({ xAxis: axis })}
            />
            {LABELS[axis]}
          </label>
        ))}
      </fieldset>
      <button type="button" class="toggle" aria-pressed={logY} onClick={() => prefs.set({ logY: !logY, logYOf: {} })}>
        Log y
      </button>
      <label class="slider" title="Exponential moving average; the faint line is what was logged">
        Smoothing
        <input
          type="range"
          min="0"
          max="0.99"
          step="0.01"
          value={smoothing}
          onInput={(event) => prefs.set({ smoothing: event.currentTarget.valueAsNumber })}
        />
        <output>{smoothing.toFixed(2)}</output>
      </label>
    </div>
  );
}
