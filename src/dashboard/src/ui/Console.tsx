/** What the run printed, following its end while the reader is there. */

import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { fetchConsole } from "../api";
import { formatTime, plainLine } from "../model/format";
import type { ConsoleLine, Run } from "../model/run";

/** Older lines are in the log file; a page with more of them is no pleasure. */
const AT_MOST = 5000;

export function Console({ run }: { readonly run: Run }) {
  const lines = useConsole(run);
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  useLayoutEffect(() => {
    if (atEnd.current && box.current !== null) box.current.scrollTop = box.current.scrollHeight;
  }, [lines]);
  const onScroll = () => {
    const { scrollTop = 0, scrollHeight = 0, clientHeight = 0 } = box.current ?? {};
    atEnd.current = scrollHeight - scrollTop - clientHeight < 24;
  };
  return (
    <section class="console" aria-label="Console" data-testid="console">
      <div class="toolbar">
        <h2>Console</h2>
        <span class="count">{lines.length === AT_MOST ? `last ${AT_MOST} lines` : `${lines.length} lines`}</span>
      </div>
      {lines.length === 0 ? (
        <p class="hint">Nothing printed.</p>
      ) : (
        <div class="lines" ref={box} onScroll={onScroll} tabIndex={0} role="log" aria-label="Console lines">
          {lines.map((line) => (
            <div key={line.id} class={line.stream} title={`${formatTime(line.timeMs)} ${line.stream}`}>
              {plainLine(line.text) || " "}
            </div>
          ))}
        </div>
      )}
    </section>
  );
}

/** The lines so far; read on, from where we are, whenever the run has changed. */
function useConsole(run: Run): readonly ConsoleLine[] {
  const [lines, setLines] = useState<readonly ConsoleLine[]>([]);
  const reading = useRef(Promise.resolve());
  const last = useRef(0);
  useEffect(() => {
    // One after the other, so that no line is asked for twice.
    reading.current = reading.current.then(() =>
      readOn(run.id, last, (news) => setLines((old) => [...old, ...news].slice(-AT_MOST))),
    );
  }, [run]);
  return lines;
}

async function readOn(
  runId: string,
  last: { current: number },
  take: (lines: readonly ConsoleLine[]) => void,
): Promise<void> {
  try {
    for (
      let news = await fetchConsole(runId, last.current);
      news.length > 0;
      news = await fetchConsole(runId, last.current)
    ) {
      last.current = news.at(-1)?.id ?? last.current;
      take(news);
    }
  } catch (error) {
    console.info("console not loaded", runId, error); // read on at the next change
  }
}
