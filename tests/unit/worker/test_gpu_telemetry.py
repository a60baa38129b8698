"""GPU figures have fixed names, and each fails alone."""

from flashtrial.core.gpu.driver import Gpu, GpuHealth, GpuMemory, GpuProcess, GpuReading, NoGpus
from flashtrial.core.gpu.telemetry import GpuSample, held_by, sample
from flashtrial.testing.recorded_gpus import RecordedGpus

GIB = 1024**3
WHOLE = GpuReading(
    Gpu(0, "GPU-a", "H100", 0),
    GpuMemory(80 * GIB, 60 * GIB),
    utilization_percent=97,
    temperature_celsius=71,
    power_watts=640.5,
    processes=(GpuProcess(11, 12 * GIB), GpuProcess(12, 5 * GIB), GpuProcess(99, GIB), GpuProcess(13, None)),
    health=GpuHealth(uncorrected_ecc=2),
)
SLICE = GpuReading(Gpu(1, "MIG-b", "H100 MIG 1g", 1), GpuMemory(10 * GIB, 9 * GIB), processes=(GpuProcess(11, GIB),))


def test_every_figure_has_its_name_with_the_unit() -> None:
    taken = sample(RecordedGpus([WHOLE]), {})
    assert taken == GpuSample(
        values={
            "sys/gpu.0.utilization_percent": 97.0,
            "sys/gpu.0.memory_used_bytes": 20.0 * GIB,
            "sys/gpu.0.memory_total_bytes": 80.0 * GIB,
            "sys/gpu.0.temperature_celsius": 71.0,
            "sys/gpu.0.power_watts": 640.5,
            "sys/gpu.0.ecc_uncorrected_count": 2.0,
        },
        children={},
        missing=(),
        failures={},
    )


def test_what_fails_is_named_and_counted_and_the_rest_is_there() -> None:
    driver = RecordedGpus([WHOLE, SLICE])
    sample(driver, {})
    taken = sample(driver, {})
    assert set(taken.missing) == {
        "sys/gpu.1.utilization_percent",
        "sys/gpu.1.temperature_celsius",
        "sys/gpu.1.power_watts",
        "sys/gpu.1.ecc_uncorrected_count",
    }
    assert taken.values["sys/gpu.1.memory_used_bytes"] == GIB
    assert taken.failures == {"utilization_percent": 2, "temperature_celsius": 2, "power_watts": 2}


def test_a_child_gets_the_memory_of_all_its_processes_by_device() -> None:
    taken = sample(RecordedGpus([WHOLE, SLICE]), {"trainer": [11, 12], "silent": [13], "elsewhere": [7]})
    assert taken.children == {
        "trainer": {"sys/gpu.0.process_memory_bytes": 17 * GIB, "sys/gpu.1.process_memory_bytes": GIB}
    }


def test_without_a_gpu_there_is_nothing_to_tell() -> None:
    assert sample(NoGpus("none"), {"a": [1]}) == GpuSample({}, {}, (), {})


def test_a_pid_that_is_named_twice_counts_once() -> None:
    assert held_by([GpuProcess(5, 10)], {"a": [5, 5]}) == {"a": 10}
