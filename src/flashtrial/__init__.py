"""flashtrial: write a function or a class once, run it here or on serverless GPUs, and lose no metric.

Importing this package is cheap: submodules are loaded when a name of theirs is first used.
"""

TYPE_CHECKING = False  # as `typing` has it, whose import would cost ten times what all of this costs
if TYPE_CHECKING:
    __commit__: str
    ops: "list[Run]"
    from flashtrial.tracking.api import alert, finish, init, log, setup, watch
    from flashtrial.tracking.media.data import Graph, Histogram, Table
    from flashtrial.tracking.media.files import Artifact, Audio, File, Image, Text, Video
    from flashtrial.tracking.media.folders import Folder
    from flashtrial.tracking.runs.run import Op, Run
    from flashtrial.tracking.settings.login import login, logout
    from flashtrial.tracking.settings.resolution import Settings

__version__ = "0.1.0"

_FILES = "flashtrial.tracking.media.files"
_DATA = "flashtrial.tracking.media.data"
_HOMES = {
    **dict.fromkeys(("Artifact", "Audio", "File", "Image", "Text", "Video"), _FILES),
    **dict.fromkeys(("Graph", "Histogram", "Table"), _DATA),
    "Folder": "flashtrial.tracking.media.folders",
    "Op": "flashtrial.tracking.runs.run",
    "Run": "flashtrial.tracking.runs.run",
    "Settings": "flashtrial.tracking.settings.resolution",
    **dict.fromkeys(("alert", "finish", "init", "log", "setup", "watch"), "flashtrial.tracking.api"),
    **dict.fromkeys(("login", "logout"), "flashtrial.tracking.settings.login"),
}

__all__ = [
    "Artifact",
    "Audio",
    "File",
    "Folder",
    "Graph",
    "Histogram",
    "Image",
    "Op",
    "Run",
    "Settings",
    "Table",
    "Text",
    "Video",
    "__commit__",
    "__version__",
    "alert",
    "finish",
    "init",
    "log",
    "login",
    "logout",
    "ops",
    "setup",
    "watch",
]


def __getattr__(name: str) -> object:
    import importlib  # noqa: PLC0415 - the import of this package is to cost nothing

    if name == "__commit__":
        return importlib.import_module("flashtrial.core.env").get("FLASHTRIAL_COMMIT", "unknown")
    if name == "ops":
        return importlib.import_module("flashtrial.tracking.api").open_now()
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'flashtrial' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
