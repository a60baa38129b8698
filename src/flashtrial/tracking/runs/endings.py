"""How runs end: by a word of the user, by the exception that left a block or a program, or well."""

from flashtrial.core.errors import ConfigurationError
from flashtrial.protocol.trials import RunStatus
from flashtrial.tracking.capture.masking import Masks

MAX_REASON_CHARS = 4000
TERMINATED: tuple[RunStatus, str] = (RunStatus.INTERRUPTED, "SIGTERM")


def parse_ending(status: RunStatus | str) -> RunStatus:
    """`status` as a state that ends a run. Raises `ConfigurationError`."""
    endings = [each.value for each in RunStatus if each.is_finished]
    if status not in endings:
        raise ConfigurationError(f"a run does not end as {status!r}, but as one of {', '.join(endings)}")
    return RunStatus(status)


def ending_by(error: BaseException | None, masks: Masks) -> tuple[RunStatus, str | None]:
    """State and reason of a run whose block or program was left by `error`, or by none. The reason is masked before it
    is cut."""
    match error:
        case None:
            return RunStatus.FINISHED, None
        case SystemExit(code=None | 0):
            return RunStatus.FINISHED, None
        case KeyboardInterrupt():
            return RunStatus.INTERRUPTED, "KeyboardInterrupt"
        case SystemExit():
            return RunStatus.FAILED, masks.masked_head(f"SystemExit: {error}", MAX_REASON_CHARS)
    return RunStatus.FAILED, _story(error, masks)


def _story(error: BaseException, masks: Masks) -> str:
    """What happened in one line, and below it where: of a long traceback the last part, which is the nearest."""
    import traceback  # noqa: PLC0415 - a millisecond that only failures pay

    try:
        said = masks.masked_head(f"{type(error).__name__}: {error}", MAX_REASON_CHARS // 2)
        where = "".join(traceback.format_exception(error))
    except Exception:  # noqa: BLE001 - an exception's own text is the user's code
        return type(error).__name__
    room = MAX_REASON_CHARS - len(said) - 2
    return f"{said}\n{where if len(where) <= room else '…' + masks.masked_tail(where, room)}"
