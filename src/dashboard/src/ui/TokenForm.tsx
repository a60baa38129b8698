import { useState } from "preact/hooks";
import { rememberToken } from "../api";
import { reconnect } from "../state/live";

/** Off loopback the server answers only those who know its token. */
export function TokenForm() {
  const [token, setToken] = useState("");
  const onSubmit = (event: Event) => {
    event.preventDefault();
    rememberToken(token.trim());
    reconnect();
  };
  return (
    <main>
      <form class="empty" onSubmit={onSubmit}>
        <h1>This server wants a token</h1>
        <p>
          <code>flashtrial env</code>, run where the server runs, prints it as <code>FLASHTRIAL_TOKEN</code>. It is kept
          for this tab only.
        </p>
        <div class="toolbar">
          <input
            type="password"
            class="search"
            aria-label="Token"
            autocomplete="off"
            value={token}
            onInput={(event) => setToken(event.currentTarget.value)}
          />
          <button type="submit" class="toggle">
            Open
          </button>
        </div>
      </form>
    </main>
  );
}
