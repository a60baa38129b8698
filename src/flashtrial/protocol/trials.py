"""The states of a run, and what may follow what."""

from enum import StrEnum


class RunStatus(StrEnum):
    """Where a tracked run stands. `stopped` may resume; `interrupted`: ended from outside; `lost`: fell silent."""

    CREATED = "created"
    RUNNING = "running"
    FINISHED = "finished"
    FAILED = "failed"
    STOPPED = "stopped"
    INTERRUPTED = "interrupted"
    LOST = "lost"

    @property
    def is_finished(self) -> bool:
        """Whether the run has ended, well or badly. A later `running` record opens it again (resume)."""
        return self not in (RunStatus.CREATED, RunStatus.RUNNING)
