"""Which layers go when there are too many."""

import os
from pathlib import Path

import pytest

from flashtrial.core.files import file_lock
from flashtrial.worker.install.layer_budget import enforce_budget, unshared_packages
from flashtrial.worker.layers import IN_USE, Layers

SIZE = 1000


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path / "layers")


def build(layers: Layers, key: str, last_used: float, *packages: str) -> None:
    beside = layers.new_beside(key)
    (beside / "site" / f"{key}.py").write_bytes(b"#" * SIZE)
    layers.publish(beside, key, [key], packages or [f"{key}==1.0"])
    (layers.place(key) / IN_USE).touch()
    os.utime(layers.place(key) / IN_USE, (last_used, last_used))


def test_least_recently_used_go_until_the_rest_fits(layers: Layers) -> None:
    for age, key in enumerate(["new", "middle", "old", "oldest"]):
        build(layers, key, 1e9 - age)
    assert [layer.key for layer in enforce_budget(layers, 2 * SIZE)] == ["oldest", "old"]
    assert sorted(layers.keys()) == ["middle", "new"]
    assert layers.find("old") is None
    assert layers.sweep() == 0


def test_layers_that_fit_stay(layers: Layers) -> None:
    build(layers, "one", 1e9)
    assert enforce_budget(layers, SIZE) == ()
    assert layers.find("one") is not None


def test_layer_in_use_stays_however_old_until_it_is_released(layers: Layers) -> None:
    build(layers, "held", 1.0)
    build(layers, "free", 2.0)
    hold = layers.hold("held")
    assert [layer.key for layer in enforce_budget(layers, 0)] == ["free"]
    assert layers.find("held") is not None
    hold.release()
    hold.release()
    assert [layer.key for layer in enforce_budget(layers, 0)] == ["held"]


def test_layer_that_somebody_is_just_looking_for_stays(layers: Layers) -> None:
    build(layers, "sought", 1.0)
    with file_lock(layers.lock_path("sought")):
        assert enforce_budget(layers, 0) == ()
    assert layers.find("sought") is not None


def test_use_makes_a_layer_young(layers: Layers) -> None:
    build(layers, "one", 1.0)
    build(layers, "other", 2.0)
    layers.hold("one").release()
    assert [layer.key for layer in enforce_budget(layers, SIZE)] == ["other"]


def test_layer_that_was_never_held_is_the_first_to_go(layers: Layers) -> None:
    build(layers, "held", 1.0)
    build(layers, "never", 2.0)
    (layers.place("never") / IN_USE).unlink()
    assert [layer.key for layer in enforce_budget(layers, SIZE)] == ["never"]
    assert enforce_budget(Layers(Path("/nowhere")), 0) == ()


def test_packages_of_removed_layers_are_told_unless_another_layer_has_them(layers: Layers) -> None:
    build(layers, "gone", 1.0, "numpy==1.26.4", "six==1.17.0", "mine @ https://example.org/mine.whl")
    build(layers, "stays", 2.0, "six==1.16.0")
    removed = enforce_budget(layers, SIZE)
    assert unshared_packages(removed, layers) == ["mine", "numpy"]
