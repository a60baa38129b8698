"""The import of the RunPod SDK without the second that it spends on learning the processor's name.

``runpod.serverless.utils.rp_debugger`` (1.12) calls ``cpuinfo.get_cpu_info()`` at import, which starts another
interpreter and measures the processor in it: 1.1 of 1.9 s, for a line in the report of ``--rp_debugger``.
"""

import contextlib
import platform
from collections.abc import Iterator


@contextlib.contextmanager
def quick_cpu_info() -> Iterator[None]:
    """Whoever asks ``cpuinfo`` inside the block is told the machine's architecture as the processor's name.

    An SDK that does not ask it is imported as it is.
    """
    try:
        import cpuinfo  # type: ignore[import-untyped]  # noqa: PLC0415 - the SDK's dependency, and maybe not for ever
    except ImportError:
        yield
        return
    asked = cpuinfo.get_cpu_info
    cpuinfo.get_cpu_info = lambda: {"brand_raw": platform.machine()}
    try:
        yield
    finally:
        cpuinfo.get_cpu_info = asked
