"""What every driver of GPUs must do, as tests that a subclass runs against its own."""

import abc

from flashtrial.core.gpu.driver import Gpu, GpuDriver, GpuReading

STRANGER = Gpu(99, "GPU-00000000-0000-0000-0000-000000000000", "of another machine", 99)


class GpuDriverContract(abc.ABC):
    """Subclass it in a test module, name the class ``Test…``, and give it the driver under test.

    It holds on machines with GPUs and without: there, what is asked of each GPU is asked of none.
    """

    @abc.abstractmethod
    def driver(self) -> GpuDriver:
        """A driver that was just opened; the test closes it."""

    def test_gpus_are_numbered_from_0_and_have_names_of_their_own(self) -> None:
        driver = self.driver()
        gpus = driver.gpus()
        assert [gpu.index for gpu in gpus] == list(range(len(gpus)))
        assert len({gpu.uuid for gpu in gpus}) == len(gpus)
        assert all(gpu.uuid and gpu.name for gpu in gpus)
        assert driver.gpus() == gpus
        driver.close()

    def test_figures_are_in_their_ranges_or_unknown(self) -> None:
        driver = self.driver()
        for gpu in driver.gpus():
            reading = driver.read(gpu)
            assert reading.gpu == gpu
            _check_ranges(reading)
        driver.close()

    def test_nothing_is_known_of_a_gpu_of_another_machine(self) -> None:
        driver = self.driver()
        assert driver.read(STRANGER) == GpuReading(STRANGER)
        driver.close()

    def test_a_closed_driver_knows_nothing_and_does_not_complain(self) -> None:
        driver = self.driver()
        gpus = driver.gpus()
        driver.close()
        driver.close()
        assert driver.gpus() == gpus
        assert [driver.read(gpu) for gpu in gpus] == [GpuReading(gpu) for gpu in gpus]

    def test_failures_are_counted_and_never_forgotten(self) -> None:
        driver = self.driver()
        before = dict(driver.failures)
        for gpu in driver.gpus():
            driver.read(gpu)
        assert all(driver.failures.get(query, 0) >= count for query, count in before.items())
        assert all(count > 0 for count in driver.failures.values())
        driver.close()


def _check_ranges(reading: GpuReading) -> None:
    if reading.memory is not None:
        assert 0 <= reading.memory.free_bytes <= reading.memory.total_bytes
        assert reading.memory.used_bytes + reading.memory.free_bytes == reading.memory.total_bytes
    if reading.utilization_percent is not None:
        assert 0 <= reading.utilization_percent <= 100
    if reading.temperature_celsius is not None:
        assert -40 <= reading.temperature_celsius <= 200
    if reading.power_watts is not None:
        assert 0 <= reading.power_watts < 10_000
    for process in reading.processes or ():
        assert process.pid > 0
        assert process.used_bytes is None or process.used_bytes > 0
