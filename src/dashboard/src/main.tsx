import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./styles/base.css";
import "./styles/controls.css";
import "./styles/table.css";
import "./styles/charts.css";
import "./styles/run.css";
import { startLive } from "./state/live";
import { App } from "./ui/App";

const root = document.getElementById("app");
if (root !== null) render(<App />, root);
startLive();
