/** The values under the cursor, highest first, beside it. */

import { formatNumber, formatTime } from "../model/format";
import { titleOf } from "../model/run";
import type { XAxis } from "../model/series";
import type { ChartData } from "./chartData";
import type { Pointer } from "./Plot";
import { formatLength } from "./ticks";

const AT_MOST = 12;
/** As `max-width` in charts.css. */
const WIDTH = 300;
const GAP = 16;

interface Props {
  readonly pointer: Pointer;
  readonly chart: ChartData;
  readonly xAxis: XAxis;
}

export function Readout({ pointer, chart, xAxis }: Props) {
  const entries = chart.runs.flatMap((run, index) => {
    const line = chart.firstMain + index;
    const value = pointer.values[line];
    return value == null
      ? []
      : [{ run, value, focused: line === pointer.focused, colour: chart.lines[line]?.colour ?? "" }];
  });
  if (entries.length === 0) return null;
  entries.sort((a, b) => b.value - a.value);
  // With too many to list, those around the line under the cursor are the ones to see.
  const start = Math.max(
    0,
    Math.min(entries.findIndex((entry) => entry.focused) - AT_MOST / 2, entries.length - AT_MOST),
  );
  const shown = entries.slice(start, start + AT_MOST);
  return (
    <div class="readout" style={{ ...beside(pointer), top: "8px" }} aria-hidden="true">
      <p class="at">{xText(pointer.x, xAxis)}</p>
      <table>
        {shown.map((entry) => (
          <tr key={entry.run.id} class={entry.focused ? "focused" : ""}>
            <td>
              <i class="dot" style={{ background: entry.colour }} />
            </td>
            <td class="name">{titleOf(entry.run)}</td>
            <td class="number">{formatNumber(entry.value)}</td>
          </tr>
        ))}
      </table>
      {entries.length > shown.length && <p class="more">{entries.length - shown.length} more</p>}
    </div>
  );
}

/** On the side of the cursor where there is more room; never out of the chart. */
function beside({ left, width }: Pointer): { left: string } | { right: string } {
  if (left < width / 2) return { left: `${Math.max(0, Math.min(left + GAP, width - WIDTH))}px` };
  return { right: `${Math.max(0, Math.min(width - left + GAP, width - WIDTH))}px` };
}

function xText(x: number, xAxis: XAxis): string {
  switch (xAxis) {
    case "step":
      return `step ${formatNumber(x)}`;
    case "time":
      return formatTime(x * 1000);
    case "relative":
      return `after ${formatLength(Math.round(x * 10) / 10)}`;
  }
}
