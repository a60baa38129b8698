import { useLayoutEffect, useRef } from "preact/hooks";
import { setQuery } from "../state/app";

const HELP = [
  "digits: in the name, project, tags, id or configuration",
  "status:running  tag:baseline  project:digits",
  "lr<=0.01  accuracy>0.9",
  "-tag:old: without",
].join("\n");

interface Props {
  readonly query: string;
  readonly found: number;
  readonly all: number;
}

/** Where the table is narrowed; "/" goes there from anywhere. */
export function FilterBox({ query, found, all }: Props) {
  const input = useRef<HTMLInputElement>(null);
  // Layout: from the first moment that the box is seen.
  useLayoutEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLTextAreaElement;
      if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      input.current?.focus();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
  return (
    <div class="filter">
      <input
        ref={input}
        type="search"
        class="search"
        data-testid="filter"
        placeholder="Filter: name, tag, lr<0.1"
        aria-label="Filter runs"
        title={HELP}
        value={query}
        onInput={(event) => setQuery(event.currentTarget.value)}
        onKeyDown={(event) => event.key === "Escape" && (setQuery(""), event.currentTarget.blur())}
      />
      {query === "" ? (
        <kbd aria-hidden="true">/</kbd>
      ) : (
        <span class="found" role="status">
          {found} of {all}
        </span>
      )}
    </div>
  );
}
