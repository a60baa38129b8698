"""What real libraries hand over: images of PIL, figures of matplotlib, tables of pandas, tensors of torch."""

import json
from pathlib import Path
from typing import Any

import pytest

from flashtrial.tracking.media.data import Histogram, Table
from flashtrial.tracking.media.files import Audio, Image, Video
from flashtrial.tracking.media.staging import staged_path
from flashtrial.tracking.values import parse_logged, plain

pil = pytest.importorskip("PIL.Image")
figures = pytest.importorskip("matplotlib.figure")
pandas = pytest.importorskip("pandas")
torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.unit, pytest.mark.heavy]


def opened(outbox: Path, value: Image) -> Any:
    """The staged picture, read by PIL."""
    _, body = value.stage_record(outbox)
    path = staged_path(outbox, body)
    assert path is not None
    with pil.open(path) as picture:
        picture.load()
        return picture


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "F"])
def test_every_kind_of_pil_image_is_a_picture(outbox: Path, mode: str) -> None:
    assert opened(outbox, Image(pil.new(mode, (5, 3)))).size == (5, 3)


def test_a_pil_image_keeps_its_pixels(outbox: Path) -> None:
    picture = pil.new("RGB", (4, 2), (10, 20, 30))
    picture.putpixel((3, 1), (255, 0, 7))
    assert opened(outbox, Image(picture)).tobytes() == picture.tobytes()


def test_a_figure_and_its_axes_are_pictures_as_they_are_when_they_are_wrapped(outbox: Path) -> None:
    figure = figures.Figure(figsize=(2, 1), dpi=50)
    axes = figure.add_subplot()
    before = Image(figure)
    axes.plot([1, 2], [3, 4])
    assert opened(outbox, before).size == (100, 50)
    assert opened(outbox, before).tobytes() != opened(outbox, Image(axes)).tobytes()


@pytest.mark.parametrize("kind", ["float32", "float16", "bfloat16", "float64", "uint8", "bool"])
def test_tensors_of_every_kind_are_pictures(outbox: Path, kind: str) -> None:
    ones = torch.full((3, 2, 5), 255 if kind == "uint8" else 1).to(getattr(torch, kind))
    picture = opened(outbox, Image(ones))
    assert (picture.mode, picture.size, set(picture.tobytes())) == ("RGB", (5, 2), {255})


def test_tensors_that_want_gradients_are_pictures_sound_films_and_histograms(outbox: Path) -> None:
    weight = torch.nn.Linear(4, 4).weight
    assert opened(outbox, Image(weight)).size == (4, 4)
    assert sum(Histogram(weight).counts) == 16
    assert sum(Histogram(weight.bfloat16(), bins=4).counts) == 16
    for value in (Audio(torch.zeros(1, 800, requires_grad=True), rate=8000), Video(torch.zeros(3, 3, 8, 8), rate=8)):
        assert value.stage_record(outbox)[1]["size"]


def test_scalars_of_torch_are_numbers_and_vectors_lists() -> None:
    half = torch.tensor(0.5, dtype=torch.bfloat16, requires_grad=True)
    numbers, others = parse_logged({"h": half, "i": torch.tensor([3]), "b": torch.tensor(True), "v": torch.ones(2)})
    assert numbers == {"h": 0.5, "i": 3, "b": 1}
    assert [(one.name, one.value) for one in others] == [("v", [1.0, 1.0])]  # type: ignore[union-attr]


def test_a_dataframe_of_any_columns_is_a_table() -> None:
    frame = pandas.DataFrame(
        {
            "number": [1, 2],
            "text": ["a", None],
            "float": [0.5, float("nan")],
            "time": pandas.to_datetime(["2020-01-02", None]),
            "kind": pandas.Categorical(["u", "v"]),
            "missing": pandas.array([1, None], dtype="Int64"),
        },
        index=["first", "second"],
    )
    value: dict[str, Any] = Table(frame).to_dict()
    json.dumps(value)
    assert [column["name"] for column in value["col"]] == list(frame.columns)
    assert [row["name"] for row in value["row"]] == ["first", "second"]
    assert value["table"][0] == [1, "a", 0.5, "2020-01-02 00:00:00", "u", 1]
    grouped = Table(frame.groupby("kind", observed=True)[["number"]].sum())
    assert grouped.data == [[1], [2]]


@pytest.mark.parametrize(
    ("make", "wrapper"),
    [
        (lambda: pil.new("L", (1, 1)), "Image"),
        (figures.Figure, "Image"),
        (lambda: pandas.DataFrame({"a": [1]}), "Table"),
    ],
)
def test_who_logs_them_bare_is_told_what_to_wrap_them_in(make: Any, wrapper: str) -> None:
    with pytest.raises(TypeError, match=rf"flashtrial\.{wrapper}"):
        parse_logged({"x": make()})


def test_a_configuration_with_objects_of_torch_is_texts_and_numbers() -> None:
    config = {"dtype": torch.float16, "device": torch.device("cpu"), "weights": torch.ones(2), "shape": torch.Size([3])}
    assert plain(config) == {"dtype": "torch.float16", "device": "cpu", "weights": [1.0, 1.0], "shape": [3]}
