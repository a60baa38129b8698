"""What goes wrong between this package and those who call its routes."""

from flashtrial.core.errors import FlashtrialError


class Refusal(FlashtrialError):
    """Raised when a request is answered with an error: the HTTP status, and a message for whoever sent it."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class StorageFailed(Refusal):
    """Raised when the database cannot be read or written now, as on a full disk; nothing was changed by the attempt."""

    def __init__(self, message: str) -> None:
        super().__init__(503, message)


class BadRequest(Refusal):
    """Raised when a body is not what its route takes."""

    def __init__(self, message: str) -> None:
        super().__init__(400, message)
