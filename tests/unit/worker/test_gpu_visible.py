"""CUDA_VISIBLE_DEVICES of the worker is read as CUDA reads it."""

import pytest

from flashtrial.core.gpu.driver import UNKNOWN_BOARD, Gpu
from flashtrial.core.gpu.visible import VARIABLE, visible_gpus, visible_variable

# the ids are those of PyTorch's own test of partial ids; the last board is split
BOARDS = tuple(
    Gpu(place, uuid, "H100", place)
    for place, uuid in enumerate(("GPU-9942190a-aa31", "GPU-9e8d35e3-a134", "GPU-e429a63e-c61c", "GPU-eee1dfbc-0a0f"))
)
SLICES = (Gpu(4, "MIG-89c850dc-e997", "MIG 1g", 4), Gpu(5, "MIG-7aa00000-1111", "MIG 1g", 4))
GPUS = BOARDS + SLICES

TABLE = [
    (None, [0, 1, 2, 3, 4, 5]),
    ("", []),
    ("-1", []),
    ("NoDevFiles", []),
    ("2", [2]),
    ("2,0", [2, 0]),
    (" 1 , +2 ", [1, 2]),
    ("1gpu,2x", [1, 2]),  # strtoul: the rest of an entry is ignored
    ("0,1,-1,2", [0, 1]),
    ("0,7,1", [0]),
    ("0,1,0", []),
    ("one,0", []),
    ("0,one,1", [0]),
    ("4", [4]),  # a split board: its first slice
    ("GPU-9e8d35e3", [1]),
    ("GPU-e4,GPU-9e8d", [2, 1]),
    ("GPU-123,GPU-9e8d", []),
    ("GPU-9e8d,GPU-e,GPU-99", [1]),  # ambiguous: the end
    ("GPU-9e8d35e3,GPU-99,GPU-9e8", []),  # the same one twice
    ("GPU-9e8d, 2", [1]),  # kinds do not mix
    ("0,GPU-9e8d", [0]),
    ("MIG-7aa00000-1111", [5]),
    ("MIG-89c850dc-e997,MIG-7aa", [4, 5]),
]


@pytest.mark.parametrize(("restriction", "expected"), TABLE)
def test_the_restriction_means_what_it_means_to_cuda(restriction: str | None, expected: list[int]) -> None:
    assert [gpu.index for gpu in visible_gpus(GPUS, restriction)] == expected


def test_a_slice_that_the_driver_does_not_list_is_passed_through_by_its_name() -> None:
    old_style = "MIG-GPU-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f/1/0"
    assert visible_gpus(GPUS, f"{old_style},MIG-89c850dc") == (
        Gpu(6, old_style, "MIG device", UNKNOWN_BOARD),
        SLICES[0],
    )


def test_without_gpus_nothing_is_visible() -> None:
    assert visible_gpus((), None) == visible_gpus((), "0,1") == ()


def test_a_child_is_given_its_gpu_by_uuid_and_nothing_when_it_has_none() -> None:
    assert visible_variable(GPUS[2]) == {VARIABLE: "GPU-e429a63e-c61c"}
    assert visible_variable(None) == {}
