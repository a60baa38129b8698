/** One metric of several runs: heading, plot, and what stands under the cursor. */

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { formatNumber } from "../model/format";
import { keyText } from "../model/plan";
import { titleOf, type Run } from "../model/run";
import { shortName } from "../model/sections";
import { app } from "../state/app";
import { demandSeries } from "../state/loader";
import { prefs } from "../state/prefs";
import { sameItems, useStore } from "../state/store";
import { chartData } from "./chartData";
import { ChartButtons } from "./ChartButtons";
import { useTheme, useVisible } from "./hooks";
import { Plot, type Pointer } from "./Plot";
import { Readout } from "./Readout";

const LOOKS = {
  light: { ink: "#6b7280", grid: "rgba(15, 23, 42, 0.07)" },
  dark: { ink: "#8b93a3", grid: "rgba(226, 232, 240, 0.08)" },
} as const;

interface Props {
  readonly metric: string;
  /** The drawn runs that have this metric. */
  readonly runs: readonly Run[];
}

export function ChartCard({ metric, runs }: Props) {
  const card = useRef<HTMLElement>(null);
  const visible = useVisible(card);
  const theme = useTheme();
  const [pointer, setPointer] = useState<Pointer | null>(null);
  const [large, setLarge] = useState(false);
  const { xAxis, smoothing, logY, logYOf } = useStore(prefs, (state) => state);
  const colours = useStore(app, (state) => state.colours);
  const series = useStore(
    app,
    (state) => runs.map((run) => state.series.get(keyText({ runId: run.id, metric }))),
    sameItems,
  );
  const hovered = useStore(app, (state) => state.hovered);
  const log = logYOf[metric] ?? logY;

  const runIds = runs.map((run) => run.id).join("\n");
  useEffect(() => (visible ? demandSeries(metric, runIds.split("\n")) : undefined), [visible, metric, runIds]);

  const chart = useMemo(
    () => chartData(runs, series, { xAxis, smoothing, logY: log }, colours, theme),
    [runIds, ...series, runs.length, xAxis, smoothing, log, colours, theme],
  );
  const style = { xAxis, logY: log, font: "11px Inter, system-ui, sans-serif", ...LOOKS[theme] };
  const place = chart.runs.findIndex((run) => run.id === hovered);
  const label = `${metric} by ${xAxis}, ${runs.length === 1 ? titleOf(runs[0] as Run) : `${runs.length} runs`}`;

  return (
    <article
      class={large ? "chart large" : "chart"}
      ref={card}
      data-testid="chart"
      data-metric={metric}
      data-points={chart.drawn}
    >
      <header>
        <h3 title={metric}>{shortName(metric)}</h3>
        {chart.notFinite > 0 && (
          <span class="note" title="NaN and infinite values have no place on an axis; the line has a gap there">
            {formatNumber(chart.notFinite)} not finite
          </span>
        )}
        <ChartButtons metric={metric} log={log} large={large} onLarge={setLarge} />
      </header>
      <div class="canvas">
        {visible || chart.drawn > 0 ? (
          <Plot
            lines={chart.lines}
            data={chart.columns}
            style={style}
            highlighted={place < 0 ? -1 : place + chart.firstMain}
            label={label}
            onPointer={setPointer}
          />
        ) : null}
        {chart.drawn === 0 && <p class="overlay">{emptyReason(chart.runs.length, runs.length, log)}</p>}
        {pointer !== null && <Readout pointer={pointer} chart={chart} xAxis={xAxis} />}
      </div>
    </article>
  );
}

function emptyReason(loaded: number, wanted: number, log: boolean): string {
  if (loaded < wanted) return "Loading…";
  return log ? "Nothing above zero to draw on a logarithmic axis" : "No finite value yet";
}
