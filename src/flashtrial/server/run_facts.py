"""What a run is, folded from its state, config and tags records: the same however those arrive.

Records of one writer count in the order of their sequence numbers, whatever its clock did meanwhile; records of several
writers are merged by time, where a writer's time never steps back.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from flashtrial.protocol.records import RecordKind
from flashtrial.protocol.trials import RunStatus

DEFAULT_PROJECT = "default"


@dataclass(frozen=True, slots=True)
class Change:
    """One state, config or tags record of a run. `writer` tells writers apart and orders nothing but ties."""

    writer: str
    seq: int
    time_ms: int
    kind: RecordKind
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunFacts:
    """A run as its writers describe it."""

    name: str
    project: str = DEFAULT_PROJECT
    status: RunStatus = RunStatus.CREATED
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    host: str | None = None
    reason: str | None = None
    fork_run: str | None = None
    fork_step: int | None = None


def fold(run_id: str, changes: Iterable[Change], onto: RunFacts | None = None) -> RunFacts:
    """The run that these changes describe, or what they make of the run `onto` when they are later than all of its own.

    A run that nobody named is called by its id.
    """
    facts = onto or RunFacts(run_id)
    for change in in_order(changes):
        facts = _after(facts, change)
    return facts


def _after(facts: RunFacts, change: Change) -> RunFacts:
    match change.kind:
        case RecordKind.CONFIG:
            return replace(facts, config=merged(facts.config, change.body["set"]))
        case RecordKind.TAGS:
            return replace(facts, tags=retagged(facts.tags, change.body))
    news = {name: value for name, value in change.body.items() if name in _KEPT}
    if "config" in news:
        news["config"] = merged(facts.config, news["config"])
    if "fork" in change.body:
        news |= {"fork_run": change.body["fork"]["run_id"], "fork_step": change.body["fork"].get("step")}
    if _is_aftermath(news, facts):
        return replace(facts, **_but_its_end(news))
    return replace(facts, **(_of_guest(news, facts) if change.body.get("guest") else _of_owner(news)))


_KEPT = frozenset({"status", "project", "name", "config", "tags", "host", "reason"})


def _is_aftermath(news: Mapping[str, Any], facts: RunFacts) -> bool:
    """Whether `news` is what became of others when one failed: of a rank whose peer is gone, or that is terminated."""
    is_bad = news["status"] in {RunStatus.FAILED, RunStatus.INTERRUPTED} and "reason" in news
    return is_bad and facts.status is RunStatus.FAILED and facts.reason is not None


def _but_its_end(news: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in news.items() if name not in {"status", "reason"}}


def _of_owner(news: Mapping[str, Any]) -> dict[str, Any]:
    """What a state record changes. A reason belongs to the state it came with, so a later state takes it away."""
    return {"reason": None, **news, "status": RunStatus(news["status"])}


def _of_guest(news: Mapping[str, Any], facts: RunFacts) -> dict[str, Any]:
    """The same of a writer whose run it is not: that it fails says something of the run, that it ends does not.

    Where nobody owns the run, `ended_by_guests` has the last word.
    """
    if news["status"] == RunStatus.FAILED or facts.status is RunStatus.CREATED:
        return _of_owner(news)
    return _but_its_end(news)


def ended_by_guests(facts: RunFacts, history: Iterable[Change]) -> RunFacts:
    """A run that only guests opened, of which `history` is all: over with the last of them, as the worst of them.

    Of several that are as bad it is the first.
    """
    told: dict[str, Change] = {}
    for change in in_order(history):
        if change.kind is RecordKind.STATE:
            told.pop(change.writer, None)  # so that the order is that of the last words
            told[change.writer] = change
    if not told or not all(RunStatus(last.body["status"]).is_finished for last in told.values()):
        return facts
    worst = max(told.values(), key=lambda last: _BADNESS.index(last.body["status"]))
    return replace(facts, status=RunStatus(worst.body["status"]), reason=worst.body.get("reason"))


_BADNESS = (RunStatus.FINISHED, RunStatus.STOPPED, RunStatus.INTERRUPTED, RunStatus.LOST, RunStatus.FAILED)


def in_order(changes: Iterable[Change]) -> list[Change]:
    """The changes as they happened, as far as that can be told."""
    return [change for *_, change in keyed(changes)]


def keyed(changes: Iterable[Change]) -> list[tuple[int, str, int, Change]]:
    """The changes in their order, each behind what orders it: its writer's latest time in ms so far, writer, number."""
    timed: list[tuple[int, str, int, Change]] = []
    by_writer = sorted(changes, key=lambda change: (change.writer, change.seq))
    for writer, own in groupby(by_writer, key=lambda change: change.writer):
        latest_ms = 0
        for change in own:
            latest_ms = max(latest_ms, change.time_ms)
            timed.append((latest_ms, writer, change.seq, change))
    return sorted(timed, key=lambda entry: entry[:3])


def retagged(tags: Sequence[str], change: Mapping[str, Any]) -> list[str]:
    """`tags` after a tags record: what it adds and removes, else the whole array that it brings."""
    if "add" not in change and "remove" not in change:
        return list(change["tags"])
    gone = change.get("remove", ())
    return [tag for tag in dict.fromkeys([*tags, *change.get("add", ())]) if tag not in gone]


def merged(config: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """`config` with `news` put in, maps into maps; whatever else is there is replaced. Neither is changed."""
    result = dict(config)
    for key, value in news.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
