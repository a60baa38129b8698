/** One run: its figures, charts, configuration and console. */

import { useEffect, useState } from "preact/hooks";
import { fetchOrigin, fetchRun } from "../api";
import { colour } from "../model/colours";
import { durationMs } from "../model/columns";
import { formatDuration, formatTime } from "../model/format";
import { isActive, titleOf, type Run, type RunOrigin } from "../model/run";
import { app, updateRuns } from "../state/app";
import { follow } from "../state/router";
import { useStore } from "../state/store";
import { ChartSections } from "./ChartSections";
import { Console } from "./Console";
import { Loading, NoSuchRun } from "./Empty";
import { useNow, useTheme } from "./hooks";
import { RunConfig } from "./RunConfig";
import { RunSummary } from "./RunSummary";
import { StatusChip } from "./StatusChip";

export function RunPage({ id }: { readonly id: string }) {
  const run = useStore(app, (state) => state.runs?.find((run) => run.id === id));
  const loaded = useStore(app, (state) => state.runs !== null);
  const [absent, setAbsent] = useState(false);
  useEffect(() => {
    // The list holds the newest runs only; a link may lead to an older one.
    if (loaded && run === undefined) void find(id, setAbsent);
  }, [loaded, run === undefined, id]);
  if (run === undefined)
    return absent ? (
      <main>
        <BackLink />
        <NoSuchRun id={id} />
      </main>
    ) : (
      <Loading />
    );
  return (
    <main data-testid="run-detail" data-run-id={id}>
      <BackLink />
      <RunHeading run={run} />
      <RunSummary run={run} />
      <div class="detail">
        <div class="wide">
          <ChartSections runs={[run]} />
          <Console run={run} />
        </div>
        <RunConfig run={run} />
      </div>
    </main>
  );
}

async function find(id: string, setAbsent: (absent: boolean) => void): Promise<void> {
  try {
    const run = await fetchRun(id);
    setAbsent(run === null);
    if (run !== null) updateRuns([run]);
  } catch (error) {
    console.info("run not loaded", id, error); // asked again when the server is back and the list arrives
  }
}

function BackLink() {
  const query = useStore(app, (state) => state.query);
  const search = query === "" ? "" : `?q=${encodeURIComponent(query)}`;
  return (
    <a class="back" href={`/${search}`} onClick={(event) => follow(event, { page: "runs" }, search)}>
      ← All runs
    </a>
  );
}

function RunHeading({ run }: { readonly run: Run }) {
  const theme = useTheme();
  const number = useStore(app, (state) => state.colours.get(run.id) ?? 0);
  const now = useNow(isActive(run.status) ? 1000 : null);
  const origin = useOrigin(run);
  return (
    <div class="heading">
      <div class="title">
        <i class="dot big" style={{ background: colour(number, theme) }} aria-hidden="true" />
        <h1>{titleOf(run)}</h1>
        <StatusChip status={run.status} />
        {run.tags.map((tag) => (
          <span key={tag} class="tag">
            {tag}
          </span>
        ))}
      </div>
      <dl class="facts">
        <div>
          <dt>Project</dt>
          <dd>{run.project || "–"}</dd>
        </div>
        <div>
          <dt>Started</dt>
          <dd>{formatTime(run.createdMs)}</dd>
        </div>
        <div>
          <dt>{isActive(run.status) ? "Running for" : "Took"}</dt>
          <dd>{formatDuration(durationMs(run, now))}</dd>
        </div>
        {origin.host !== null && (
          <div>
            <dt>Host</dt>
            <dd>{origin.host}</dd>
          </div>
        )}
        <div>
          <dt>Id</dt>
          <dd>
            <code>{run.id}</code>
          </dd>
        </div>
      </dl>
      {origin.reason !== null && <p class={`reason ${run.status}`}>{origin.reason}</p>}
    </div>
  );
}

function useOrigin(run: Run): RunOrigin {
  const [origin, setOrigin] = useState<RunOrigin>({ host: null, reason: null });
  useEffect(() => {
    const unknown = (error: unknown) => console.info("origin not loaded", run.id, error); // asked again at the next status
    fetchOrigin(run.id).then(setOrigin, unknown);
  }, [run.id, run.status]);
  return origin;
}
