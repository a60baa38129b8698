"""SQL that writes who controls an experiment, and hands out ids of runs."""

import sqlite3
from dataclasses import dataclass

MAX_RUN_IDS = 10_000


@dataclass(frozen=True, slots=True)
class Post:
    """A controller's place: the experiment by its number, and the epoch that the server gave it there."""

    experiment: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Denied:
    """What was asked for is not done; `slug` is for programs."""

    slug: str
    reason: str
    status: int = 409


def register(connection: sqlite3.Connection, name: str, controller_id: str, now_ms: int) -> Post:
    """Make the controller the one of the experiment of that name, created where it is new; the same one stays it."""
    number, epoch, current = connection.execute(
        "INSERT INTO experiments (name, created_ms, begun_ms, updated_ms) VALUES (:name, :ms, :ms, :ms) "
        "ON CONFLICT (name) DO UPDATE SET updated_ms = max(updated_ms, :ms) RETURNING number, epoch, controller_id",
        {"name": name, "ms": now_ms},
    ).fetchone()
    if current == controller_id:
        return Post(number, epoch)
    (told,) = connection.execute(
        "SELECT max(told_epoch, coalesce((SELECT max(epoch) FROM trials WHERE experiment = number), 0)) "
        "FROM experiments WHERE number = ?",
        (number,),
    ).fetchone()  # of another server perhaps, in whose epochs its controllers reported
    post = Post(number, max(epoch, told) + 1)
    connection.execute(
        "UPDATE experiments SET epoch = ?, controller_id = ?, begun_ms = max(begun_ms, ?) WHERE number = ?",
        (post.epoch, controller_id, now_ms, number),
    )
    return post


def denied(connection: sqlite3.Connection, post: Post) -> Denied | None:
    """Why the holder of this post may not speak for the experiment; None where it may."""
    row = connection.execute("SELECT epoch FROM experiments WHERE number = ?", (post.experiment,)).fetchone()
    if row is None:
        return Denied("no_such_experiment", f"there is no experiment {post.experiment}", 404)
    if row[0] != post.epoch:
        return superseded(post, row[0])
    return None


def superseded(post: Post, epoch: int) -> Denied:
    """Somebody else controls the experiment, in that epoch."""
    return Denied("superseded", f"the controller of this experiment has epoch {epoch}, not {post.epoch}")


def reserve_run_ids(connection: sqlite3.Connection, post: Post, count: int) -> int | Denied:
    """The first of `count` ids in a row, which nobody else gets."""
    if (problem := denied(connection, post)) is not None:
        return problem
    (first,) = connection.execute(
        "SELECT max(next, coalesce((SELECT max(run_id) FROM trials), 0) + 1) FROM run_ids"
    ).fetchone()
    connection.execute("UPDATE run_ids SET next = ?", (first + count,))
    assert isinstance(first, int)
    return first
