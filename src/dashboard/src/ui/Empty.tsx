/** What stands where runs will be. */

const SCRIPT = `import flashtrial

flashtrial.init(project="first", name="hello")
for step in range(100):
    flashtrial.log({"loss": 1 / (step + 1)}, step=step)
flashtrial.finish()`;

export function Loading() {
  return (
    <main aria-busy="true">
      <p class="visually-hidden" role="status">
        Loading runs
      </p>
      <div class="skeleton" style={{ height: "280px" }} />
      <div class="grid">
        <div class="skeleton" style={{ height: "250px" }} />
        <div class="skeleton" style={{ height: "250px" }} />
      </div>
    </main>
  );
}

export function NoRuns() {
  return (
    <main>
      <section class="empty" data-testid="empty">
        <h1>No runs yet</h1>
        <p>
          A run appears here the moment a script begins one. Save this as <code>hello.py</code>:
        </p>
        <pre>
          <code>{SCRIPT}</code>
        </pre>
        <p>and start it:</p>
        <pre>
          <code>flashtrial run hello.py</code>
        </pre>
        <p class="hint">This page updates by itself.</p>
      </section>
    </main>
  );
}

export function NoSuchRun({ id }: { readonly id: string }) {
  return (
    <section class="empty" data-testid="no-such-run">
      <h1>No such run</h1>
      <p>
        There is no run with the id <code>{id}</code> on this server. It may live on another one, or have been deleted.
      </p>
    </section>
  );
}
