"""A GPU driver that plays back readings: for tests of whatever decides by GPUs, on machines that have none."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from flashtrial.core.gpu.driver import Gpu, GpuDriver, GpuReading

_PARTS: Final = ("memory", "utilization_percent", "temperature_celsius", "power_watts", "processes")


def recording_of(driver: GpuDriver) -> tuple[GpuReading, ...]:
    """What `driver` says now, of all its GPUs: one moment for `RecordedGpus`."""
    return tuple(driver.read(gpu) for gpu in driver.gpus())


class RecordedGpus:
    """Implements `GpuDriver`: plays `moments` one after the other, the first until `advance`, the last for ever.

    The GPUs are those of the first moment; one that a later moment leaves out has nothing to say. A part of a reading
    that is None counts as failed each time it is read.
    """

    def __init__(self, *moments: Sequence[GpuReading]) -> None:
        self._moments = [{reading.gpu.uuid: reading for reading in moment} for moment in moments] or [{}]
        self._gpus = tuple(reading.gpu for reading in self._moments[0].values())
        self._failures: Counter[str] = Counter()
        self._is_open = True

    def advance(self) -> None:
        """Go on to the next moment; the last one stays."""
        if len(self._moments) > 1:
            self._moments.pop(0)

    def gpus(self) -> tuple[Gpu, ...]:
        return self._gpus

    def read(self, gpu: Gpu) -> GpuReading:
        reading = self._moments[0].get(gpu.uuid, GpuReading(gpu)) if self._is_open else GpuReading(gpu)
        if self._is_open and gpu in self._gpus:
            self._failures.update(part for part in _PARTS if getattr(reading, part) is None)
        return reading

    @property
    def failures(self) -> Mapping[str, int]:
        return dict(self._failures)

    def close(self) -> None:
        self._is_open = False
