"""The driver through the real pynvml, over a libnvidia-ml that is compiled here."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flashtrial.core import env

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("gcc") is None, reason="the stand-in for NVML needs Linux and gcc"
    ),
]

HERE = Path(__file__).parent
GIB = 1024**3
GPU_IS_LOST, UNKNOWN, DRIVER_NOT_LOADED = 15, 999, 9


@pytest.fixture(scope="module")
def nvml_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a libnvidia-ml.so.1 in it."""
    directory = tmp_path_factory.mktemp("nvml")
    command = ["gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", str(directory / "libnvidia-ml.so.1")]
    subprocess.run([*command, str(HERE / "fake_nvml.c")], check=True, timeout=50)
    return directory


def run(nvml_dir: Path, arguments: list[str], **faults: str) -> subprocess.CompletedProcess[str]:
    libraries = ":".join(filter(None, [str(nvml_dir), env.get("LD_LIBRARY_PATH")]))
    variables = env.snapshot() | {"LD_LIBRARY_PATH": libraries} | faults
    return subprocess.run(
        [sys.executable, *arguments], env=variables, check=True, capture_output=True, text=True, timeout=50
    )


def report(nvml_dir: Path, **faults: str) -> dict[str, Any]:
    found = json.loads(run(nvml_dir, [str(HERE / "gpu_report.py")], **faults).stdout)
    assert isinstance(found, dict)
    return found


def test_boards_and_slices_are_found_with_all_their_figures(nvml_dir: Path) -> None:
    found = report(nvml_dir)
    assert not found["imported_early"]
    assert [reading["gpu"] for reading in found["readings"]] == [
        {"index": 0, "uuid": "GPU-00000000-aaaa", "name": "NVIDIA H100 80GB HBM3", "board": 0},
        {"index": 1, "uuid": "MIG-11111111-0000", "name": "NVIDIA H100 80GB HBM3 MIG 1g.10gb", "board": 1},
        {"index": 2, "uuid": "MIG-11111111-2222", "name": "NVIDIA H100 80GB HBM3 MIG 2g.20gb", "board": 1},
        {"index": 3, "uuid": "GPU-22222222-cccc", "name": "NVIDIA GeForce RTX 4090", "board": 2},
    ]
    whole = found["readings"][0]
    assert whole["memory"] == {"total_bytes": 80 * GIB, "free_bytes": 50 * GIB}
    assert (whole["utilization_percent"], whole["temperature_celsius"], whole["power_watts"]) == (97, 61, 640.5)
    assert whole["processes"] == [{"pid": 4711, "used_bytes": 29 * GIB}, {"pid": 4712, "used_bytes": None}]
    assert whole["health"] == {
        "is_lost": False,
        "recovery_action": 0,
        "uncorrected_ecc": 0,
        "remap_failed": False,
    }
    assert found["broken"] == [False] * 4


def test_what_a_device_does_not_offer_is_unknown_and_no_failure(nvml_dir: Path) -> None:
    found = report(nvml_dir)
    part, consumer = found["readings"][1], found["readings"][3]
    assert part["utilization_percent"] is None
    assert (part["temperature_celsius"], part["power_watts"], part["processes"]) == (62, 640.5, [])  # of its board
    assert part["memory"] == {"total_bytes": 10 * GIB, "free_bytes": 9 * GIB}
    assert consumer["health"] == {
        "is_lost": False,
        "recovery_action": None,
        "uncorrected_ecc": None,
        "remap_failed": None,
    }
    assert found["failures"] == {}


def test_figures_and_the_memory_of_a_child_have_their_names(nvml_dir: Path) -> None:
    found = report(nvml_dir)
    assert found["values"]["sys/gpu.0.memory_used_bytes"] == 30 * GIB
    assert "sys/gpu.1.utilization_percent" not in found["values"]
    assert found["children"] == {"trainer": {"sys/gpu.0.process_memory_bytes": 29 * GIB}}


@pytest.mark.parametrize(
    ("function", "part"),
    [
        ("nvmlDeviceGetMemoryInfo", "memory"),
        ("nvmlDeviceGetUtilizationRates", "utilization_percent"),
        ("nvmlDeviceGetTemperature", "temperature_celsius"),
        ("nvmlDeviceGetPowerUsage", "power_watts"),
        ("nvmlDeviceGetComputeRunningProcesses_v3", "processes"),
    ],
)
def test_each_query_fails_alone_and_is_counted(nvml_dir: Path, function: str, part: str) -> None:
    whole = report(nvml_dir)["readings"][0]
    found = report(nvml_dir, FAKE_NVML_FAULTS=f"{function}@0={UNKNOWN}")
    assert found["readings"][0] == whole | {part: None}
    assert list(found["failures"].values()) == [2]  # the recording and the sample


@pytest.mark.parametrize("function", ["TotalEccErrors", "RemappedRows", "FieldValues"])
def test_a_question_of_health_that_fails_leaves_the_others(nvml_dir: Path, function: str) -> None:
    found = report(nvml_dir, FAKE_NVML_FAULTS=f"nvmlDeviceGet{function}@0={UNKNOWN}")
    health = found["readings"][0]["health"]
    assert [value is None for value in health.values()].count(True) == 1
    assert sum(found["failures"].values()) == 2


def test_a_lost_device_is_told_as_broken(nvml_dir: Path) -> None:
    found = report(nvml_dir, FAKE_NVML_FAULTS=f"nvmlDeviceGetMemoryInfo@0={GPU_IS_LOST}")
    assert found["readings"][0]["health"]["is_lost"]
    assert found["broken"] == [True, False, False, False]


def test_the_driver_s_call_for_a_reset_is_told_as_broken(nvml_dir: Path) -> None:
    assert report(nvml_dir, FAKE_NVML_RECOVERY_ACTION="1")["broken"] == [True, True, True, False]
    assert report(nvml_dir, FAKE_NVML_REMAP_FAILED="1")["broken"] == [True, True, True, False]


def test_a_board_that_cannot_be_opened_hides_no_other(nvml_dir: Path) -> None:
    found = report(nvml_dir, FAKE_NVML_FAULTS=f"nvmlDeviceGetHandleByIndex_v2@0={GPU_IS_LOST}")
    assert [reading["gpu"]["board"] for reading in found["readings"]] == [1, 1, 2]
    assert [reading["gpu"]["index"] for reading in found["readings"]] == [0, 1, 2]
    assert found["failures"] == {"handle": 1}


def test_no_driver_and_no_device_are_no_gpus(nvml_dir: Path) -> None:
    unloaded = report(nvml_dir, FAKE_NVML_FAULTS=f"nvmlInitWithFlags={DRIVER_NOT_LOADED}")
    assert (unloaded["readings"], unloaded["reason"]) == ([], "NVML: Driver Not Loaded")
    assert report(nvml_dir, FAKE_NVML_BOARDS="0")["reason"] == "NVML lists no usable GPU"


def test_the_driver_s_contract_holds_with_gpus(nvml_dir: Path) -> None:
    tests = str(HERE / "test_gpu_this_machine.py")
    done = run(nvml_dir, ["-m", "pytest", "-q", "-p", "no:cacheprovider", tests])
    assert "8 passed" in done.stdout
