"""One call, as the parent holds it: everything a child needs, arguments still encoded."""

from typing import NamedTuple

from flashtrial.process.packing import Part
from flashtrial.protocol.child import Invoke, RunDefaults


class CallSpec(NamedTuple):
    """One call, all that a child needs for it; `arguments` are packed and still encoded. `method` None: a function."""

    call_id: str
    target: str
    source: str
    modules: dict[str, str]
    format: str
    arguments: tuple[Part, ...]
    method: str | None = None
    construct: bool = False
    stream: bool = False
    tracking: RunDefaults | None = None

    @property
    def local_names(self) -> tuple[str, ...]:
        """Top-level names of the modules that came with the call, which no template may import."""
        return tuple(sorted({path.split("/")[0].removesuffix(".py") for path in self.modules}))

    def command(self, inline_arguments: bytes | None, scratch: str | None = None) -> Invoke:
        """The message for the child; None when the arguments travel beside it, or when there are no modules."""
        return Invoke(
            self.call_id,
            self.target,
            self.source,
            self.modules,
            self.format,
            self.method,
            self.construct,
            self.stream,
            inline_arguments,
            scratch,
            self.tracking,
        )
