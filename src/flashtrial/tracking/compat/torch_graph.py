"""The graph of a torch model, as one forward pass shows it: modules in the order they ran, and which fed which.

A module's input that is another one's output is an edge. What happens to tensors between modules is not seen: where
none of a module's inputs is known, the edge comes from the module that ran before it, and says ``"is_guess"``.
"""

from collections.abc import Callable, Iterator
from typing import Any

from flashtrial.tracking.media.data import Graph

MOST_NODES = 5000


class Hook:
    """A hook that stays behind when its model is copied, pickled or saved."""

    __torch_unserializable__ = True  # keeps torch from warning of it

    def __init__(self, take: Callable[..., None]) -> None:
        self._take = take

    def __call__(self, *seen: Any) -> None:
        self._take(*seen)

    def __reduce__(self) -> tuple[Any, ...]:
        return Hook, (_nothing,)


class GraphTracer:
    """Watches the first whole forward pass of `model` and hands over its graph."""

    def __init__(self, model: Any, take: Callable[[Graph], None]) -> None:
        self._model = model
        self._take = take
        self._handles: list[Any] = []
        self._ran: list[tuple[str, Any, set[str], Any]] = []
        self._makers: dict[int, str] = {}
        self._seen: list[Any] = []  # keeps tensors alive for the pass, so that no id is given twice

    def start(self, add: Callable[[Any], None]) -> None:
        """Hook every module; `add` is given what can be removed."""
        for name, module in list(self._model.named_modules())[:MOST_NODES]:
            if not any(True for _ in module.children()):
                self._handles.append(module.register_forward_hook(Hook(self._leaf(name or type(module).__name__))))
        self._handles.append(self._model.register_forward_pre_hook(Hook(self._begin)))
        self._handles.append(self._model.register_forward_hook(Hook(self._whole)))
        for handle in self._handles:
            add(handle)

    def _leaf(self, name: str) -> Callable[..., None]:
        def ran(module: Any, inputs: Any, output: Any) -> None:
            sources = {self._makers[id(tensor)] for tensor in _tensors(inputs) if id(tensor) in self._makers}
            self._ran.append((name, module, sources - {name}, output))
            for tensor in _tensors(output):
                self._makers[id(tensor)] = name
                self._seen.append(tensor)

        return ran

    def _begin(self, *_: Any) -> None:
        """What ran in a pass that failed is no part of the next one."""
        self._ran, self._seen, self._makers = [], [], {}

    def _whole(self, *_: Any) -> None:
        for handle in self._handles:
            handle.remove()
        graph = self._graph()
        self._begin()
        self._take(graph)

    def _graph(self) -> Graph:
        graph = Graph()
        before: str | None = None
        for order, (name, module, sources, output) in enumerate(self._ran):
            graph.add_node(name, **_attributes(module, order, name, output))
            for source in sorted(sources):
                graph.add_edge(source, name)
            if not sources and before is not None and before != name:
                graph.add_edge(before, name, is_guess=True)
            before = name
        return graph


def _attributes(module: Any, order: int, name: str, output: Any) -> dict[str, Any]:
    return {
        "type": type(module).__name__,
        "order": order,
        "depth": name.count(".") + 1,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "output_shapes": [list(tensor.shape) for tensor in _tensors(output)],
    }


def _tensors(value: Any) -> Iterator[Any]:
    """The tensors in what a module takes or gives, in lists, tuples and dicts."""
    if isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif hasattr(value, "grad_fn"):
        yield value


def _nothing(*_: Any) -> None:
    """What a copied hook does."""
