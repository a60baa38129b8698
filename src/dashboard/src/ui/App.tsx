import { useEffect } from "preact/hooks";
import { titleOf } from "../model/run";
import { app } from "../state/app";
import { useRoute } from "../state/router";
import { useStore } from "../state/store";
import { Header } from "./Header";
import { useTheme } from "./hooks";
import { RunPage } from "./RunPage";
import { RunsPage } from "./RunsPage";
import { TokenForm } from "./TokenForm";

export function App() {
  const route = useRoute();
  const theme = useTheme();
  const locked = useStore(app, (state) => state.locked);
  const id = route.page === "run" ? route.id : null;
  const run = useStore(app, (state) => state.runs?.find((run) => run.id === id));
  useEffect(() => void (document.documentElement.dataset["theme"] = theme), [theme]);
  useEffect(() => void (document.title = run === undefined ? "flashtrial" : `${titleOf(run)} · flashtrial`), [run]);
  return (
    <>
      <Header />
      {locked ? <TokenForm /> : id === null ? <RunsPage /> : <RunPage key={id} id={id} />}
    </>
  );
}
