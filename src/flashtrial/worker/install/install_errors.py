"""What can go wrong between a list of dependencies and an environment."""

from typing import ClassVar

from flashtrial.core.errors import FlashtrialError
from flashtrial.protocol.execution import FailureKind


class InstallFailed(FlashtrialError):
    """Raised when dependencies could not be installed; the message names them and what the installer said."""

    kind: ClassVar[FailureKind] = FailureKind.INSTALL


class CompilerMissing(InstallFailed):
    """Raised when a package has to be built from source and this machine has no compiler."""


class RequirementRefused(InstallFailed):
    """Raised when a dependency is not the name of a package with an optional version; nothing was run."""

    kind: ClassVar[FailureKind] = FailureKind.REQUEST
