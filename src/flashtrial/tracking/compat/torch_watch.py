"""`watch`: histograms of a torch model's gradients and parameters while it trains, and its graph.

By hooks of torch, which live as long as the run or until `Watching.stop`. They take no step of their own: what they see
is logged at the step that the next `log` will have. A model that is copied or saved leaves them behind.
"""

import importlib
import logging
import math
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final, Protocol, TypeAlias

from flashtrial.core import env
from flashtrial.core.errors import ConfigurationError
from flashtrial.tracking.compat.torch_graph import GraphTracer, Hook
from flashtrial.tracking.media.data import Histogram
from flashtrial.tracking.settings.ranks import rank_of

logger = logging.getLogger(__name__)

GRADIENTS: Final = "gradients"
PARAMETERS: Final = "parameters"
GRAPH: Final = "graph"
_WHAT: Final = {
    None: frozenset[str](),
    GRADIENTS: frozenset({GRADIENTS}),
    PARAMETERS: frozenset({PARAMETERS}),
    "all": frozenset({GRADIENTS, PARAMETERS}),
}
_WRAPPERS: Final = frozenset({"DistributedDataParallel", "DataParallel", "FullyShardedDataParallel", "OptimizedModule"})

_MARGIN: Final = 1e-3
_LARGE: Final = 1e38  # from here on the width of a histogram may be more than float32 can hold

Take: TypeAlias = Callable[..., None]


class WatchingRun(Protocol):
    """What is needed of a run."""

    def log_beside(self, data: dict[str, Any]) -> bool: ...


class Watching:
    """The hooks on one model. Calling `stop` twice is safe."""

    def __init__(self) -> None:
        self._handles: list[Any] = []

    def add(self, handle: Any) -> None:
        self._handles.append(handle)

    def stop(self) -> None:
        """Take the hooks off."""
        handles, self._handles = self._handles, []
        for handle in handles:
            handle.remove()


_watched: "weakref.WeakKeyDictionary[Any, Watching]" = weakref.WeakKeyDictionary()


def watch(
    run: WatchingRun,
    model: Any,
    log: str | None = GRADIENTS,
    log_freq: int = 1000,
    *,
    log_graph: bool = False,
    bins: int = 64,
    freq: int | None = None,
    disable_graph: bool | None = None,
    disable_grad: bool = False,
    disable_param: bool = True,
) -> Watching:
    """Log histograms of `bins` intervals of `model`, a ``torch.nn.Module``, at every `log_freq`-th pass.

    `log` is ``"gradients"``, ``"parameters"``, ``"all"`` or None; `log_graph` logs the graph of the first pass, too.
    `freq`, `disable_graph`, `disable_grad` and `disable_param` are Pluto's names of the same. Of a wrapped model (DDP,
    a compiled one) the inner one is watched, and in a distributed job rank 0 alone does it. Watching a model again
    replaces what was there. Raises `ConfigurationError`.
    """
    log_freq = log_freq if freq is None else freq
    if log not in _WHAT or log_freq < 1 or bins < 1:
        raise ConfigurationError(f"watch takes log=gradients, parameters, all or None; counts from 1 on; not {log!r}")
    inner = _unwrapped(model)
    _check(inner)
    what = _WHAT[log] - ({GRADIENTS} if disable_grad else set()) | (set() if disable_param else {PARAMETERS})
    watching = Watching()
    before = _watched.pop(inner, None)
    if before is not None:
        before.stop()
    if rank_of(env.snapshot()) > 0:
        return watching
    _watched[inner] = watching
    scribe = _Scribe(run, watching, bins)
    if GRADIENTS in what:
        for name, parameter in _trained(inner):
            watching.add(parameter.register_hook(Hook(_Every(log_freq, scribe.gradient_of(name)))))
    if PARAMETERS in what:
        # on the wrapper: a hook inside of a compiled model is compiled, or not seen at all
        watching.add(model.register_forward_hook(Hook(_Every(log_freq, scribe.parameters_of(inner)))))
    if log_graph if disable_graph is None else not disable_graph:
        GraphTracer(inner, lambda graph: scribe.say({GRAPH: graph})).start(watching.add)
    return watching


def _check(model: Any) -> None:
    """Raises `ConfigurationError` for what cannot be watched."""
    if not hasattr(model, "named_parameters") or not hasattr(model, "register_forward_hook"):
        raise ConfigurationError(f"watch takes a torch.nn.Module, not {type(model).__name__}")
    torch = importlib.import_module("torch")
    if isinstance(model, torch.jit.ScriptModule):
        raise ConfigurationError("torch.jit lets nobody watch a model that it has compiled: watch it before")
    if any(torch.nn.parameter.is_lazy(parameter) for parameter in model.parameters()):
        raise ConfigurationError("the model has no parameters yet: let a batch through it before it is watched")


class _Every:
    """Lets the first of every `count` calls through."""

    def __init__(self, count: int, take: Take) -> None:
        self._count = count
        self._calls = 0
        self._take = take

    def __call__(self, *seen: Any) -> None:
        if self._calls % self._count == 0:
            self._take(*seen)
        self._calls += 1


class _Scribe:
    """Makes histograms and hands them to the run. What fails is said once and ends the watching, not the training."""

    def __init__(self, run: WatchingRun, watching: Watching, bins: int) -> None:
        self._run = run
        self._watching = watching
        self._bins = bins

    def gradient_of(self, name: str) -> Take:
        return lambda gradient: self._put(f"{GRADIENTS}/{name}", gradient)

    def parameters_of(self, model: Any) -> Take:
        def take(*_: Any) -> None:
            if model.training:
                for name, parameter in _trained(model):
                    self._put(f"{PARAMETERS}/{name}", parameter)

        return take

    def say(self, data: dict[str, Any]) -> None:
        if not self._run.log_beside(data):  # the run is finished
            self._watching.stop()

    def _put(self, name: str, tensor: Any) -> None:
        try:
            made = tensor_histogram(tensor, self._bins)
        except (RuntimeError, ValueError) as error:  # of torch: a device that cannot, memory that is full
            logger.warning("%s is watched no longer: %s", name, error, extra={"action": "watch_failed"})
            self._watching.stop()
            return
        if made is not None:
            self.say({name: made})


def tensor_histogram(tensor: Any, bins: int) -> Histogram | None:
    """How the finite values of a tensor of floats are spread; None where there is none. Counted where the tensor is.

    tensor: any shape, a dense float dtype. Raises RuntimeError as torch does.
    """
    torch = importlib.import_module("torch")
    values = tensor.detach()
    if not values.is_floating_point() or values.layout != torch.strided or not values.numel():
        return None
    values = (values if values.dtype in {torch.float32, torch.float64} else values.float()).flatten()
    values = values[torch.isfinite(values)]
    if not values.numel():
        return None
    low, high = float(values.min()), float(values.max())
    if low == high:
        margin = max(0.5, abs(low) * _MARGIN)  # of a large value a half is less than its dtype can tell
        low, high = low - margin, math.nextafter(high + margin, math.inf)
    scale = 1.0 if max(-low, high) < _LARGE else 2.0**-512 if values.dtype == torch.float64 else 2.0**-64
    counts = torch.histc(values * scale, bins=bins, min=low * scale, max=high * scale).long().tolist()
    edges = [min(low + (high / bins - low / bins) * place, high) for place in range(bins)]
    return Histogram((counts, [*edges, high]), bins=None)


def _trained(module: Any) -> Iterator[tuple[str, Any]]:
    return ((name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad)


def _unwrapped(model: Any) -> Any:
    """The model that a wrapper of torch has inside, at whatever depth."""
    while type(model).__name__ in _WRAPPERS:
        inner = getattr(model, "module", None) or getattr(model, "_orig_mod", None)
        if inner is None:
            break
        model = inner
    return model
