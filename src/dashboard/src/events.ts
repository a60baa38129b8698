/**
 * The server's stream of changes. Read with fetch rather than EventSource: that cannot send a token, hides why it
 * failed, and gives up for good on some answers.
 */

import { ask } from "./api";

export interface ServerEvent {
  readonly name: string;
  readonly data: string;
}

/** The whole events in `text`, and the rest that belongs to the next one. (HTML standard, section 9.2.6.) */
export function splitEvents(text: string): { events: ServerEvent[]; rest: string } {
  const blocks = text.replaceAll("\r\n", "\n").split("\n\n");
  const rest = blocks.pop() ?? "";
  return { events: blocks.map(parseBlock).filter((event) => event !== null), rest };
}

function parseBlock(block: string): ServerEvent | null {
  let name = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    const [, field = "", value = ""] = /^([^:]*):? ?(.*)$/.exec(line) ?? [];
    if (field === "event") name = value;
    if (field === "data") data.push(value);
  }
  return data.length > 0 ? { name, data: data.join("\n") } : null;
}

/** Nothing for so long, not even a sign of life: the connection is dead, as after a laptop's sleep. */
const SILENCE_MS = 50_000;

/** Hand every event to `onEvent` until the stream ends or falls silent; `onOpen` first. Raises as `ask` does. */
export async function listen(
  signal: AbortSignal,
  onOpen: () => void,
  onEvent: (event: ServerEvent) => void,
): Promise<void> {
  const response = await ask("/events", { signal, headers: { Accept: "text/event-stream" } });
  if (response.body === null) return;
  onOpen();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  for (;;) {
    const watchdog = setTimeout(() => void reader.cancel(), SILENCE_MS);
    const chunk = await reader.read().finally(() => clearTimeout(watchdog));
    if (chunk.done) return;
    const { events, rest } = splitEvents(pending + chunk.value);
    pending = rest;
    events.forEach(onEvent);
  }
}

/** Milliseconds before attempt number `failures` (1, 2, …): full jitter under 1, 2, 4 … 30 s, never under 0.3 s. */
export function backoffMs(failures: number, random: number): number {
  return Math.max(300, random * Math.min(30_000, 1000 * 2 ** (failures - 1)));
}
