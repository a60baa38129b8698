import { prefs } from "../state/prefs";

interface Props {
  readonly metric: string;
  readonly log: boolean;
  readonly large: boolean;
  readonly onLarge: (large: boolean) => void;
}

/** What can be done to a single chart. */
export function ChartButtons({ metric, log, large, onLarge }: Props) {
  const setLog = () => prefs.set({ logYOf: { ...prefs.get().logYOf, [metric]: !log } });
  return (
    <span class="buttons">
      <button
        type="button"
        class="quiet"
        aria-pressed={log}
        aria-label={`Logarithmic y axis for ${metric}`}
        title="Logarithmic y axis"
        onClick={setLog}
      >
        log
      </button>
      <button
        type="button"
        class="quiet icon"
        aria-pressed={large}
        aria-label={`Enlarge ${metric}`}
        title={large ? "Back to size" : "Enlarge"}
        onClick={() => onLarge(!large)}
      >
        <svg viewBox="0 0 16 16" width="13" height="13" aria-hidden="true">
          <path d={large ? "M6.5 2v4.5H2M9.5 14V9.5H14" : "M9.5 2.5h4v4M6.5 13.5h-4v-4M13 3 9.5 6.5M3 13l3.5-3.5"} />
        </svg>
      </button>
    </span>
  );
}
