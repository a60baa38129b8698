"""Arrays of numpy and torch as pixels and as sound. numpy is loaded only for a value that is one.

Pictures: ``(H, W)``, ``(H, W, C)`` or ``(C, H, W)`` with 1, 3 or 4 channels; floats from 0 to 1 (or, when one is
larger, to 255), integers from 0 to 255, or booleans. What lies outside is clipped, NaN is 0.
"""

import importlib
import io
import sys
import wave
from typing import Any

from flashtrial.tracking.media.png import animated_png, png

_CHANNELS = (1, 3, 4)


def is_array(value: object) -> bool:
    """Whether `value` is an array of numpy, or something that can be made into one: a tensor of torch or jax."""
    return hasattr(value, "__array__") and hasattr(value, "shape")


def as_png(value: Any) -> bytes:
    """A picture as PNG. Raises ValueError for shapes that are none."""
    pixels = _with_channels_last(_array(value))
    height, width, channels = pixels.shape
    return png(width, height, channels, _bytes_of(pixels).tobytes())


def as_animated_png(value: Any, rate: float) -> bytes:
    """Frames ``(T, H, W[, C])`` or ``(T, C, H, W)``, or the first of a batch of those, as APNG. Raises ValueError."""
    frames = _array(value)
    if frames.ndim == 5:
        frames = frames[0]
    if frames.ndim not in (3, 4):
        raise ValueError(f"a video has the shape (time, height, width, channels), not {tuple(frames.shape)}")
    scaled = _bytes_of(frames)  # all frames by one scale
    pictures = [_with_channels_last(frame) for frame in scaled]
    if not pictures:
        raise ValueError("a video has at least one frame")
    height, width, channels = pictures[0].shape
    return animated_png(width, height, channels, [each.tobytes() for each in pictures], rate)


def as_wav(value: Any, rate: int) -> bytes:
    """Samples ``(N,)``, ``(N, channels)`` or ``(channels, N)``, floats from -1 to 1 or integers of 16 bits, as WAV."""
    samples = _array(value)
    if samples.ndim == 2 and samples.shape[0] < samples.shape[1]:
        samples = samples.T
    if samples.ndim not in (1, 2) or (samples.ndim == 2 and samples.shape[1] > 32):
        raise ValueError(f"sound has the shape (samples,) or (samples, channels), not {tuple(samples.shape)}")
    numpy = _numpy()
    if samples.dtype.kind == "f":
        samples = numpy.nan_to_num(samples).clip(-1, 1) * 32767
    samples = numpy.ascontiguousarray(numpy.clip(samples, -32768, 32767), dtype="<i2")
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return out.getvalue()


def histogram(value: Any, bins: int) -> tuple[list[int], list[float]] | None:
    """Counts and edges of an array's finite numbers; None where numpy cannot make that many bins of their range.

    Raises ValueError for what is no array of numbers.
    """
    numpy = _numpy()
    array = _array(value).astype("f8").ravel()
    finite = array[numpy.isfinite(array)]
    try:
        with numpy.errstate(over="ignore", invalid="ignore"):
            counts, edges = numpy.histogram(finite, bins=bins)
    except ValueError:
        return None
    return counts.tolist(), edges.tolist()


def _numpy() -> Any:
    return sys.modules.get("numpy") or importlib.import_module("numpy")


def _array(value: Any) -> Any:
    """`value` as a numpy array of numbers on this machine's memory. Raises ValueError."""
    if hasattr(value, "detach"):  # a tensor of torch, on whatever device
        value = value.detach().cpu()
        if not value.dtype.is_complex and value.dtype.is_floating_point:
            value = value.float()  # numpy knows no bfloat16
    array = _numpy().asarray(value)
    if array.dtype.kind not in "biuf" or not array.size:
        raise ValueError(f"an array of {array.dtype} with shape {tuple(array.shape)} is no picture and no sound")
    return array


def _with_channels_last(array: Any) -> Any:
    while array.ndim > 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 2:
        return array[:, :, None]
    if array.ndim == 3 and array.shape[2] in _CHANNELS:
        return array
    if array.ndim == 3 and array.shape[0] in _CHANNELS:
        return _numpy().moveaxis(array, 0, 2)
    raise ValueError(f"a picture has the shape (height, width, channels), not {tuple(array.shape)}")


def _bytes_of(array: Any) -> Any:
    numpy = _numpy()
    if array.dtype.kind == "b":
        array = array * 255
    elif array.dtype.kind == "f":
        array = array.astype("f4") if array.dtype.itemsize < 4 else array  # half precision ends at 65504
        array = numpy.nan_to_num(array, posinf=1e9, neginf=-1e9)
        array = array * 255 if array.max() <= 1 else array
        array = numpy.rint(array)
    return numpy.ascontiguousarray(numpy.clip(array, 0, 255), dtype="u1")
