/** A uPlot on the page: made anew when its lines or look change, fed when only its points do. */

import { useEffect, useMemo, useRef } from "preact/hooks";
import uPlot from "uplot";
import { useResize } from "./hooks";
import { plotOptions, type Line, type PlotStyle } from "./plot";

export interface Pointer {
  /** Pixels inside the plot's container. */
  readonly left: number;
  /** Of the container. */
  readonly width: number;
  readonly x: number;
  /** Per line, the value at the cursor, or `null`. */
  readonly values: readonly (number | null)[];
  /** The line under the cursor, or −1. */
  readonly focused: number;
}

interface Props {
  readonly lines: readonly Line[];
  readonly data: uPlot.AlignedData;
  readonly style: PlotStyle;
  /** A line to bring out, or −1. */
  readonly highlighted: number;
  readonly label: string;
  readonly onPointer: (pointer: Pointer | null) => void;
}

export function Plot({ lines, data, style, highlighted, label, onPointer }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const zoomed = useRef(false);
  const report = useRef(onPointer);
  report.current = onPointer;
  const latest = useRef(data);
  latest.current = data;
  const look = useMemo(() => JSON.stringify([lines, style]), [lines, style]);

  useEffect(() => {
    if (box.current === null) return;
    zoomed.current = false;
    const made = new uPlot(
      plotOptions(
        lines,
        style,
        hooks(zoomed, (pointer) => report.current(pointer)),
      ),
      latest.current,
      box.current,
    );
    made.over.addEventListener("dblclick", () => (zoomed.current = false));
    made.over.addEventListener("mouseleave", () => report.current(null));
    fit(made, box.current.clientWidth, box.current.clientHeight);
    plot.current = made;
    return () => {
      plot.current = null;
      made.destroy();
    };
  }, [look]);

  useEffect(() => {
    const made = plot.current;
    if (made === null || made.data === data) return;
    made.setData(data, !zoomed.current);
    // Without a reset of the scales uPlot draws nothing by itself.
    if (zoomed.current) made.redraw(true, true);
  }, [data]);

  useEffect(() => {
    plot.current?.setSeries(highlighted < 0 ? null : highlighted + 1, { focus: true }, false);
  }, [highlighted, look]);

  useResize(box, (width, height) => plot.current !== null && fit(plot.current, width, height));
  return <div class="plot" ref={box} role="img" aria-label={label} />;
}

function fit(plot: uPlot, width: number, height: number): void {
  if (width > 0 && height > 0 && (plot.width !== width || plot.height !== height)) plot.setSize({ width, height });
}

function hooks(zoomed: { current: boolean }, onPointer: (pointer: Pointer | null) => void): uPlot.Hooks.Arrays {
  let focused = -1;
  const look = (plot: uPlot) => onPointer(pointerOf(plot, focused));
  return {
    setSelect: [(plot) => void (zoomed.current = plot.select.width > 0)],
    setSeries: [
      (plot, index) => {
        focused = index === null ? -1 : index - 1;
        look(plot);
      },
    ],
    setCursor: [look],
  };
}

/** Where the mouse is in this plot; `null` when it is elsewhere, also when another plot moves our cursor. */
function pointerOf(plot: uPlot, focused: number): Pointer | null {
  const { left = -1, idx, idxs } = plot.cursor;
  if (left < 0 || idx == null || !plot.over.matches(":hover")) return null;
  const values = plot.data.slice(1).map((column, line) => {
    const at = idxs?.[line + 1];
    return at == null ? null : (column[at] ?? null);
  });
  return { left: left + plot.over.offsetLeft, width: plot.width, x: plot.data[0][idx] ?? NaN, values, focused };
}
