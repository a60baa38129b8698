import { formatNumber } from "../model/format";
import { isSystem } from "../model/metric";
import { byName } from "../model/sections";
import type { Run } from "../model/run";

/** The last value of each metric, large. */
export function RunSummary({ run }: { readonly run: Run }) {
  const metrics = [...run.summary].filter(([name]) => !isSystem(name)).sort(([a], [b]) => byName(a, b));
  if (metrics.length === 0) return null;
  return (
    <dl class="tiles" data-testid="summary">
      {metrics.map(([name, value]) => (
        <div key={name} class="tile" title={`${name}: ${value}`}>
          <dt>{name}</dt>
          <dd class={Number.isFinite(value) ? "" : "odd"}>{formatNumber(value)}</dd>
          <dd class="small">{formatNumber(run.points.get(name) ?? 0)} points</dd>
        </div>
      ))}
    </dl>
  );
}
