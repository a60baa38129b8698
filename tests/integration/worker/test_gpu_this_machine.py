"""NVML's driver keeps the contract on whatever machine this is: without a GPU, with one, or over a stand-in."""

from flashtrial.core.gpu.driver import GpuDriver, NoGpus
from flashtrial.core.gpu.nvml import open_nvml
from flashtrial.testing.gpu_driver_contract import GpuDriverContract
from flashtrial.testing.recorded_gpus import RecordedGpus, recording_of


class TestNvmlDriver(GpuDriverContract):
    def driver(self) -> GpuDriver:
        return open_nvml()


def test_a_driver_is_open_or_says_what_is_missing() -> None:
    driver = open_nvml()
    if isinstance(driver, NoGpus):
        assert driver.reason
        assert driver.gpus() == ()
    else:
        assert driver.gpus()
    driver.close()


def test_two_drivers_may_be_open_at_once() -> None:
    first, second = open_nvml(), open_nvml()
    first.close()
    assert [second.read(gpu).memory is None for gpu in second.gpus()] == [False] * len(second.gpus())
    second.close()


def test_what_was_recorded_plays_back_the_same() -> None:
    driver = open_nvml()
    moment = recording_of(driver)
    driver.close()
    assert recording_of(RecordedGpus(moment)) == moment
