"""Names for runs that nobody named: readable, and the same for the same run id."""

import zlib

_HOW = (
    "amber bold brisk calm clear cosmic crisp deft eager early fair fleet fresh gentle golden keen kind light lively "
    "lucid lunar mellow mild noble polar prime proud quick quiet rapid silver smooth solar steady still sunny swift "
    "tidy vivid warm"
)
_WHAT = (
    "aspen badger birch brook canyon cedar comet coral crane delta ember falcon fern fjord forest glacier harbor heron "
    "island jaguar lagoon lark lynx maple meadow meteor orbit osprey otter pebble pine prairie raven reef ridge river "
    "spruce summit thicket willow"
)


def readable_name(run_id: str) -> str:
    """A name such as ``quiet-otter-7k2c``, whose last part is the end of the id."""
    number = zlib.crc32(run_id.encode())
    how, what = _HOW.split(), _WHAT.split()
    return f"{how[number % len(how)]}-{what[number // len(how) % len(what)]}-{run_id[-4:]}"
