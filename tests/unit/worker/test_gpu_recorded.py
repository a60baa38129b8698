"""The recorded driver keeps the contract that NVML's keeps, and plays what it was given."""

from flashtrial.core.gpu.driver import Gpu, GpuDriver, GpuHealth, GpuMemory, GpuProcess, GpuReading, NoGpus
from flashtrial.testing.gpu_driver_contract import GpuDriverContract
from flashtrial.testing.recorded_gpus import RecordedGpus, recording_of

GIB = 1024**3
FIRST = Gpu(0, "GPU-a", "H100", 0)
SECOND = Gpu(1, "GPU-b", "H100", 1)
BUSY = GpuReading(FIRST, GpuMemory(80 * GIB, 20 * GIB), 97, 71, 640.5, (GpuProcess(12, 60 * GIB),), GpuHealth(False, 0))


class TestRecordedGpus(GpuDriverContract):
    def driver(self) -> GpuDriver:
        return RecordedGpus([BUSY, GpuReading(SECOND)])


class TestNoGpus(GpuDriverContract):
    def driver(self) -> GpuDriver:
        return NoGpus("there are none")


def test_moments_are_played_in_order_and_the_last_one_stays() -> None:
    idle = GpuReading(FIRST, GpuMemory(80 * GIB, 80 * GIB))
    driver = RecordedGpus([BUSY], [idle])
    assert driver.read(FIRST) == BUSY
    assert driver.read(FIRST) == BUSY
    driver.advance()
    driver.advance()
    assert driver.read(FIRST) == idle


def test_a_gpu_that_a_later_moment_leaves_out_is_still_listed_and_says_nothing() -> None:
    driver = RecordedGpus([BUSY, GpuReading(SECOND)], [BUSY])
    driver.advance()
    assert driver.gpus() == (FIRST, SECOND)
    assert driver.read(SECOND) == GpuReading(SECOND)


def test_each_part_that_is_unknown_counts_as_failed() -> None:
    driver = RecordedGpus([GpuReading(FIRST, GpuMemory(GIB, GIB), utilization_percent=1, processes=())])
    driver.read(FIRST)
    driver.read(FIRST)
    assert driver.failures == {"temperature_celsius": 2, "power_watts": 2}


def test_a_recording_of_a_recording_is_the_same() -> None:
    moment = (BUSY, GpuReading(SECOND, health=GpuHealth(is_lost=True)))
    assert recording_of(RecordedGpus(moment)) == moment


def test_without_moments_there_are_no_gpus() -> None:
    driver = RecordedGpus()
    driver.advance()
    assert driver.gpus() == ()
    assert recording_of(driver) == ()
