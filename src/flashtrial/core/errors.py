"""The root of every error this project raises on purpose."""


class FlashtrialError(Exception):
    """Raised when flashtrial cannot do what was asked; the message says what happened and what to do next."""


class ConfigurationError(FlashtrialError):
    """Raised when a setting, variable or argument has a value that cannot be used."""
