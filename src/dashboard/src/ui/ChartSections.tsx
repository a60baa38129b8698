/** Charts of the drawn runs, in sections that can be closed. */

import { useState } from "preact/hooks";
import type { Run } from "../model/run";
import { groupBySection, type Section } from "../model/sections";
import { prefs } from "../state/prefs";
import { useStore } from "../state/store";
import { ChartCard } from "./ChartCard";
import { ChartToolbar } from "./ChartToolbar";

export function ChartSections({ runs }: { readonly runs: readonly Run[] }) {
  const [search, setSearch] = useState("");
  const metrics = new Set(runs.flatMap((run) => [...run.points.keys()]));
  const found = [...metrics].filter((metric) => metric.toLowerCase().includes(search.trim().toLowerCase()));
  return (
    <section class="charts" aria-label="Charts">
      <ChartToolbar search={search} onSearch={setSearch} />
      {groupBySection(found).map((section) => (
        <ChartSection key={section.title} section={section} runs={runs} />
      ))}
      {found.length === 0 && <p class="hint">{whyNone(runs.length, metrics.size)}</p>}
    </section>
  );
}

/** So many charts of a section are made at first; a page with thousands of them would not move. */
const AT_FIRST = 48;

function ChartSection({ section, runs }: { readonly section: Section; readonly runs: readonly Run[] }) {
  const [all, setAll] = useState(false);
  const shown = all ? section.metrics : section.metrics.slice(0, AT_FIRST);
  const closed = useStore(prefs, (state) => state.closedSections.includes(section.title));
  const onToggle = (open: boolean) => {
    if (open !== closed) return; // the browser also reports what we set
    const others = prefs.get().closedSections.filter((title) => title !== section.title);
    prefs.set({ closedSections: open ? others : [...others, section.title] });
  };
  return (
    <details class="section" open={!closed} onToggle={(event) => onToggle(event.currentTarget.open)}>
      <summary>
        {section.title} <span class="count">{section.metrics.length}</span>
      </summary>
      {!closed && (
        <div class="grid">
          {shown.map((metric) => (
            <ChartCard key={metric} metric={metric} runs={runs.filter((run) => run.points.has(metric))} />
          ))}
        </div>
      )}
      {!closed && shown.length < section.metrics.length && (
        <button type="button" class="toggle more" onClick={() => setAll(true)}>
          Show all {section.metrics.length} charts
        </button>
      )}
    </details>
  );
}

function whyNone(runs: number, metrics: number): string {
  if (runs === 0) return "No run is drawn: tick some in the table.";
  return metrics === 0 ? "These runs have logged no metric yet." : "No metric of that name.";
}
