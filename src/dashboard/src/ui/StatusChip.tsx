import type { Status } from "../model/run";

const HINTS: Record<Status, string> = {
  created: "Made, has not begun",
  running: "Writing records now",
  finished: "Ended by finish()",
  failed: "Ended by an error",
  stopped: "Stopped on request; may be resumed",
  interrupted: "Ended from outside before it was done",
  lost: "Fell silent; nothing is known of its end",
};

export function StatusChip({ status }: { readonly status: Status }) {
  return (
    <span class={`chip ${status}`} title={HINTS[status]}>
      <i aria-hidden="true" />
      {status}
    </span>
  );
}
