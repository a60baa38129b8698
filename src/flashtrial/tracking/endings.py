"""How runs end: by a word of the user, by the exception that left a block or a program, or well."""

from flashtrial.core.errors import ConfigurationError
from flashtrial.protocol.trials import RunStatus

MAX_REASON_CHARS = 4000


def parse_ending(status: RunStatus | str) -> RunStatus:
    """`status` as a state that ends a run. Raises `ConfigurationError`."""
    endings = [each.value for each in RunStatus if each.is_finished]
    if status not in endings:
        raise ConfigurationError(f"a run does not end as {status!r}, but as one of {', '.join(endings)}")
    return RunStatus(status)


def ending_by(error: BaseException | None) -> tuple[RunStatus, str | None]:
    """State and reason of a run whose block or program was left by `error`, or by none."""
    match error:
        case None:
            return RunStatus.FINISHED, None
        case SystemExit(code=None | 0):
            return RunStatus.FINISHED, None
        case KeyboardInterrupt():
            return RunStatus.INTERRUPTED, "KeyboardInterrupt"
    return RunStatus.FAILED, f"{type(error).__name__}: {error}"[:MAX_REASON_CHARS]
