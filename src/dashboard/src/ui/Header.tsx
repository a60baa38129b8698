import { app } from "../state/app";
import { reconnect } from "../state/live";
import { prefs } from "../state/prefs";
import { follow } from "../state/router";
import { useStore } from "../state/store";
import { useNow, useTheme } from "./hooks";

export function Header() {
  const query = useStore(app, (state) => state.query);
  const search = query === "" ? "" : `?q=${encodeURIComponent(query)}`;
  return (
    <header class="top">
      <a class="brand" href={`/${search}`} onClick={(event) => follow(event, { page: "runs" }, search)}>
        <svg viewBox="0 0 32 32" width="24" height="24" aria-hidden="true">
          <rect width="32" height="32" rx="8" />
          <path d="M18.5 4.5 7.5 18h6.6l-1.6 9.5L24 13.4h-7z" />
        </svg>
        flashtrial
      </a>
      <span class="spring" />
      <ConnectionState />
      <ThemeButton />
    </header>
  );
}

function ConnectionState() {
  const connection = useStore(app, (state) => state.connection);
  const retryAtMs = useStore(app, (state) => state.retryAtMs);
  const now = useNow(connection === "disconnected" ? 500 : null);
  const seconds = Math.max(0, Math.ceil((retryAtMs - now) / 1000));
  return (
    <span class={`connection ${connection}`} data-testid="connection" data-state={connection} role="status">
      <i aria-hidden="true" />
      {connection === "live" && "Live"}
      {connection === "connecting" && "Connecting…"}
      {connection === "disconnected" && (
        <>
          <span>Disconnected</span>
          <span aria-hidden="true"> · {seconds > 0 ? `retrying in ${seconds} s` : "retrying…"}</span>
          <button type="button" class="quiet" onClick={reconnect}>
            Now
          </button>
        </>
      )}
    </span>
  );
}

function ThemeButton() {
  const theme = useTheme();
  const other = theme === "dark" ? "light" : "dark";
  return (
    <button
      type="button"
      class="quiet icon"
      data-testid="theme"
      aria-label={`Switch to ${other} theme`}
      title={`Switch to ${other} theme`}
      onClick={() => prefs.set({ theme: other })}
    >
      <svg viewBox="0 0 24 24" width="18" height="18" aria-hidden="true">
        {theme === "dark" ? (
          <path d="M12 7a5 5 0 1 0 0 10 5 5 0 0 0 0-10ZM12 1.5V4M12 20v2.5M1.5 12H4M20 12h2.5M4.6 4.6l1.7 1.7M17.7 17.7l1.7 1.7M4.6 19.4l1.7-1.7M17.7 6.3l1.7-1.7" />
        ) : (
          <path d="M20.5 14.2A8.5 8.5 0 0 1 9.8 3.5a8.5 8.5 0 1 0 10.7 10.7Z" />
        )}
      </svg>
    </button>
  );
}
