"""How many requests each route got, how they ended, and how long their answers took to begin.

The outermost layer, so that refusals are counted too. A route is named by its template, never by what a client wrote:
the number of series is bounded by the app.
"""

import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
NO_ROUTE = "none"
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


@dataclass(slots=True)
class RequestCounts:
    """Totals since the start; changed on the event loop only. `seconds` are until the answer's first byte."""

    answers: Counter[tuple[str, str, int]] = field(default_factory=Counter)  # by method, route and status
    buckets: dict[tuple[str, str], list[int]] = field(default_factory=dict)
    seconds: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        place = (method if method in _METHODS else "other", route)
        self.answers[*place, status] += 1
        self.seconds[place] += seconds  # type: ignore[assignment]  # Counter's values are integers to mypy alone
        counts = self.buckets.setdefault(place, [0] * (len(BUCKETS_S) + 1))
        counts[next((index for index, most in enumerate(BUCKETS_S) if seconds <= most), len(BUCKETS_S))] += 1

    def lines(self) -> Iterator[str]:
        """Both families, as Prometheus reads them."""
        name = "flashtrial_http_requests_total"
        yield f"# HELP {name} Requests answered.\n# TYPE {name} counter\n"
        for (method, route, status), count in sorted(self.answers.items()):
            yield f'{name}{{{_labels(method, route)},status="{status}"}} {count}\n'
        name = "flashtrial_http_request_duration_seconds"
        yield f"# HELP {name} Time until an answer began.\n# TYPE {name} histogram\n"
        for (method, route), counts in sorted(self.buckets.items()):
            labels, total = _labels(method, route), 0
            for most, count in zip((*BUCKETS_S, "+Inf"), counts, strict=True):
                total += count
                yield f'{name}_bucket{{{labels},le="{most}"}} {total}\n'
            yield f"{name}_sum{{{labels}}} {self.seconds[method, route]:.6f}\n{name}_count{{{labels}}} {total}\n"


class RequestMeter:
    """Counts requests into `counts`; with `is_logging` each is a line of the log as well, without its query."""

    def __init__(self, app: ASGIApp, counts: RequestCounts, *, is_logging: bool = False) -> None:
        self._app = app
        self._counts = counts
        self._is_logging = is_logging

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()

        async def metered(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._note(scope, message["status"], time.perf_counter() - began)
            await send(message)

        await self._app(scope, receive, metered)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method, route = scope["method"], getattr(scope.get("route"), "path", NO_ROUTE)
        self._counts.add(method, route, status, seconds)
        if self._is_logging:
            what = {"method": method, "path": scope["path"], "status": status, "duration_ms": round(seconds * 1000, 3)}
            client = scope["client"][0] if scope.get("client") else None
            extra = {"action": "request", "route": route, "client": client, **what}
            logger.info("%s %s %d", method, ascii(scope["path"])[1:-1], status, extra=extra)


def _labels(method: str, route: str) -> str:
    shown = route.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'method="{method}",route="{shown}"'
