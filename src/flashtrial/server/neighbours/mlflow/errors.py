"""What MLflow's clients are told when something cannot be done: a code that they know, and words."""

from flashtrial.core.errors import FlashtrialError

INVALID = "INVALID_PARAMETER_VALUE"
STATE = "INVALID_STATE"
MISSING = "RESOURCE_DOES_NOT_EXIST"
EXISTS = "RESOURCE_ALREADY_EXISTS"
NO_ENDPOINT = "ENDPOINT_NOT_FOUND"
BUSY = "TEMPORARILY_UNAVAILABLE"
TOO_LARGE = "REQUEST_LIMIT_EXCEEDED"

_STATUS = {MISSING: 404, NO_ENDPOINT: 404, BUSY: 503, TOO_LARGE: 413}


class MlflowError(FlashtrialError):
    """Raised when a request of MLflow's protocol cannot be followed; `code` is one of MLflow's error codes."""

    def __init__(self, reason: str, code: str = INVALID) -> None:
        super().__init__(reason)
        self.code = code

    @property
    def status(self) -> int:
        return _STATUS.get(self.code, 400)


def no_run(run_id: object) -> MlflowError:
    """There is no such run."""
    return MlflowError(f"Run with id={str(run_id)[:100]} not found", MISSING)
