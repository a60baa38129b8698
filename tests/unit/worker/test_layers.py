"""Layers on disk are complete or absent."""

from pathlib import Path

import pytest

from flashtrial.core.files import file_lock
from flashtrial.process.environment import Environment
from flashtrial.worker.layers import Layers, discard

KEY = "0123456789abcdef"


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path / "layers")


def build(layers: Layers, key: str = KEY) -> Environment:
    beside = layers.new_beside(key)
    site = beside / "site"
    for name in ("alpha/__init__.py", "beta.py", "gamma.cpython-311-x86_64-linux-gnu.so", "bin/tool", ".lock"):
        (site / name).parent.mkdir(exist_ok=True)
        (site / name).write_text("x = 1\n")
    (site / "alpha-1.0.dist-info").mkdir()
    return layers.publish(beside, key, ["alpha"], ["alpha==1.0"])


def test_published_layer_is_found_with_the_names_it_holds(layers: Layers, tmp_path: Path) -> None:
    environment = build(layers)
    assert environment == Environment(KEY, (tmp_path / "layers" / KEY / "site",), ("alpha", "beta", "gamma"))
    assert layers.find(KEY) == environment


def test_layer_under_construction_is_not_there(layers: Layers) -> None:
    (layers.new_beside(KEY) / "site" / "beta.py").write_text("")
    assert layers.find(KEY) is None


def test_compiled_files_and_caches_do_not_change_a_layer(layers: Layers) -> None:
    environment = build(layers)
    (environment.paths[0] / "alpha" / "cache.json").write_text("{}")
    (environment.paths[0] / "alpha" / "__pycache__").mkdir()
    (environment.paths[0] / "alpha" / "__pycache__" / "x.pyc").write_text("compiled")
    assert layers.find(KEY) == environment


@pytest.mark.parametrize("damage", ["lost file", "emptied file", "lost manifest", "torn manifest"])
def test_damaged_layer_is_put_aside_and_can_be_built_again(layers: Layers, damage: str) -> None:
    site = build(layers).paths[0]
    manifest = site.parent / "manifest.json"
    match damage:
        case "lost file":
            (site / "beta.py").unlink()
        case "emptied file":
            (site / "beta.py").write_text("")
        case "lost manifest":
            manifest.unlink()
        case "torn manifest":
            manifest.write_bytes(manifest.read_bytes()[:20])
    assert layers.find(KEY) is None
    again = build(layers)
    assert layers.find(KEY) == again


def test_sweep_takes_what_dead_builders_left_and_nothing_else(layers: Layers) -> None:
    left = layers.new_beside("aaaa")
    in_work = layers.new_beside("bbbb")
    environment = build(layers)
    with file_lock(layers.lock_path("bbbb")):
        assert layers.sweep() == 1
    assert not left.exists()
    assert in_work.exists()
    assert layers.find(KEY) == environment


def test_sweep_of_a_home_without_layers_does_nothing(layers: Layers, tmp_path: Path) -> None:
    assert layers.sweep() == 0
    assert not (tmp_path / "layers").exists()


def test_discarding_what_is_gone_is_no_error(tmp_path: Path) -> None:
    discard(tmp_path / "nothing")
