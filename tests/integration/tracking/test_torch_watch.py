"""`watch` with the real torch: what is logged of a model that trains, and what is left alone."""

import copy
import io
import math
import pickle
import warnings
from pathlib import Path
from typing import Any

import pytest

import flashtrial
from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.compat.torch_watch import tensor_histogram
from flashtrial.tracking.runs.run import Run
from testkit.journals import bodies

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.integration, pytest.mark.heavy, pytest.mark.timeout(180)]


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


@pytest.fixture
def run(outbox: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("FLASHTRIAL_WORKER_ID", "worker_1")  # nothing is started
    settings = {"outbox": outbox, "console": False, "facts": False, "system_monitor": False}
    with flashtrial.init(settings=settings) as run:
        yield run


def model() -> Any:
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.ReLU(inplace=True), torch.nn.Linear(4, 1))


def train(net: Any, run: Run, steps: int = 1) -> None:
    for _ in range(steps):
        loss = net(torch.ones(2, 3)).sum()
        loss.backward()
        run.log({"loss": loss})


def named(outbox: Path) -> list[tuple[str, int]]:
    return [(body["name"], body["step"]) for body in bodies(outbox, "data")]


def test_gradients_are_histograms_at_the_step_of_the_loss(outbox: Path, run: Run) -> None:
    net = model()
    run.watch(net, log_freq=2)
    train(net, run, steps=3)
    names = {"gradients/0.weight", "gradients/0.bias", "gradients/2.weight", "gradients/2.bias"}
    assert set(named(outbox)) == {(name, step) for name in names for step in (0, 2)}
    weights = next(body for body in bodies(outbox, "data") if body["name"] == "gradients/0.weight")
    assert weights["type"] == "histogram"
    assert sum(weights["value"]["freq"]) == 12
    assert [body["step"] for body in bodies(outbox, "metric")] == [0, 1, 2]


def test_parameters_are_watched_while_the_model_trains_and_not_while_it_is_asked(outbox: Path, run: Run) -> None:
    net = model()
    flashtrial.watch(net, log="parameters", log_freq=1)
    net.eval()(torch.ones(1, 3))
    assert named(outbox) == []
    net.train()(torch.ones(1, 3))
    assert {name for name, _ in named(outbox)} == {
        f"parameters/{n}" for n in ("0.weight", "0.bias", "2.weight", "2.bias")
    }


def test_the_graph_is_that_of_the_first_pass(outbox: Path, run: Run) -> None:
    net = model()
    run.watch(net, log=None, log_graph=True)
    train(net, run, steps=2)
    [body] = bodies(outbox, "data")
    assert (body["name"], body["type"]) == ("graph", "graph")
    assert {name: node["type"] for name, node in body["value"]["nodes"].items()} == {
        "0": "Linear",
        "1": "ReLU",
        "2": "Linear",
    }
    assert {(edge["source"], edge["target"]) for edge in body["value"]["edges"]} == {("0", "1"), ("1", "2")}
    assert body["value"]["nodes"]["0"]["parameters"] == 16


def test_a_pass_that_fails_is_no_part_of_the_graph(outbox: Path, run: Run) -> None:
    net = model()
    run.watch(net, log=None, log_graph=True)
    narrowing = net[2].register_forward_pre_hook(lambda _, inputs: (inputs[0][:, :2],))
    with pytest.raises(RuntimeError):
        net(torch.ones(1, 3))
    narrowing.remove()
    net(torch.ones(1, 3))
    [body] = bodies(outbox, "data")
    assert {name: node["order"] for name, node in body["value"]["nodes"].items()} == {"0": 0, "1": 1, "2": 2}
    assert not any("is_guess" in edge for edge in body["value"]["edges"])


def test_a_model_of_one_layer_is_a_graph_of_one(outbox: Path, run: Run) -> None:
    net = torch.nn.Linear(3, 1)
    run.watch(net, log=None, log_graph=True)
    net(torch.ones(1, 3))
    [body] = bodies(outbox, "data")
    assert [(name, node["parameters"]) for name, node in body["value"]["nodes"].items()] == [("Linear", 4)]


@pytest.mark.parametrize("ran_before", [False, True])
def test_a_compiled_model_is_watched_and_stays_whole(outbox: Path, run: Run, ran_before: bool) -> None:
    torch._dynamo.reset()
    net = model()
    graphs: list[Any] = []

    def keep(graph: Any, _: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled = torch.compile(net, backend=keep)
    if ran_before:
        compiled(torch.ones(2, 3))
    run.watch(compiled, log="all", log_freq=1)
    train(compiled, run, steps=2)
    expected = {f"{kind}/{name}" for kind in ("gradients", "parameters") for name, _ in net.named_parameters()}
    assert {(name, step) for name, step in named(outbox)} == {(name, step) for name in expected for step in (0, 1)}
    assert len(graphs) == 1, "a hook inside would break it"


def test_of_a_wrapped_model_the_inner_one_is_watched(outbox: Path, run: Run) -> None:
    net = torch.nn.DataParallel(model())
    run.watch(net, log="all", log_freq=1, log_graph=True)
    train(net, run)
    names = {name for name, _ in named(outbox)}
    assert {"gradients/0.weight", "parameters/2.bias", "graph"} <= names
    assert not any("module" in name for name in names)


def test_a_model_that_is_watched_is_copied_pickled_and_saved_without_its_hooks(outbox: Path, run: Run) -> None:
    net = model()
    run.watch(net, log="all", log_freq=1, log_graph=True)
    copies = [copy.deepcopy(net), pickle.loads(pickle.dumps(net))]
    torch.save(net, io.BytesIO())
    for other in copies:
        other(torch.ones(1, 3)).sum().backward()
    assert named(outbox) == []


def test_what_is_stopped_replaced_or_finished_logs_no_more(outbox: Path, run: Run) -> None:
    net = model()
    watching = run.watch(net, log_freq=1)
    run.watch(net, log_freq=1, bins=7)
    train(net, run)
    assert len(named(outbox)) == 4
    assert {body["value"]["bins"]["num"] for body in bodies(outbox, "data")} == {7}
    watching.stop()
    run.finish()
    net(torch.ones(1, 3)).sum().backward()
    assert len(named(outbox)) == 4


def test_values_that_are_no_numbers_are_left_out_and_a_training_goes_on(outbox: Path, run: Run) -> None:
    net = torch.nn.Linear(3, 1)
    run.watch(net, log_freq=1)
    (net(torch.ones(1, 3)) * math.nan).sum().backward()
    assert named(outbox) == []
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.grad = None
    net.to(torch.bfloat16)(torch.ones(1, 3, dtype=torch.bfloat16)).sum().backward()
    assert len(named(outbox)) == 2


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([-3e38, 3e38, 0.0], torch.float32),
        ([1e9] * 3, torch.float32),
        ([3.4e38] * 3, torch.float32),
        ([-1e300, 1e300, 0.0], torch.float64),
        ([-65504.0, 65504.0, 0.0], torch.float16),
        ([0.0, 0.0, 0.0], torch.float32),
        ([1.0, math.nextafter(1.0, 2.0), 1.0], torch.float64),
    ],
)
def test_every_finite_value_is_counted_between_its_edges(values: list[float], kind: Any) -> None:
    made = tensor_histogram(torch.tensor(values, dtype=kind), 8)
    assert made is not None
    assert sum(made.counts) == 3
    assert made.edges == sorted(made.edges)
    for count, low, high in zip(made.counts, made.edges, made.edges[1:], strict=False):
        slack = 1e-6 * max(abs(low), abs(high))
        assert count <= sum(low - slack <= float(value) <= high + slack for value in torch.tensor(values, dtype=kind))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64, torch.int8, torch.bool])
def test_scalars_of_torch_are_numbers(outbox: Path, run: Run, kind: Any) -> None:
    run.log(
        {"flat": torch.tensor(1, dtype=kind), "one": torch.ones(1, 1, dtype=kind), "many": torch.ones(2, dtype=kind)}
    )
    run.log({"flat": torch.ones(1, requires_grad=True).sum() * math.inf})
    first, second = [body["values"] for body in bodies(outbox, "metric")]
    assert (first, second) == ({"flat": 1, "one": 1}, {"flat": math.inf})
    assert [body["value"] for body in bodies(outbox, "data")] == [[1, 1]]


@pytest.mark.parametrize("arguments", [{"log": "everything"}, {"log_freq": 0}, {"bins": 0}])
def test_what_cannot_be_is_refused(run: Run, arguments: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        run.watch(model(), **arguments)


def test_what_cannot_be_watched_yet_or_any_more_is_refused(run: Run) -> None:
    with pytest.raises(ConfigurationError, match="batch"):
        run.watch(torch.nn.LazyLinear(1))
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        traced = torch.jit.trace(model(), torch.ones(1, 3))
    with pytest.raises(ConfigurationError, match="before"):
        run.watch(traced)


def test_what_is_no_model_is_refused(run: Run) -> None:
    with pytest.raises(ConfigurationError, match=r"torch\.nn\.Module"):
        run.watch("model")
