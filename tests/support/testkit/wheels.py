"""Packages made by hand, for installers: wheels, sources with a build backend of their own, and a directory of both.

No index and no network: `offline` points uv and pip at a directory.
"""

import base64
import hashlib
import io
import tarfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

_BACKEND = """
import base64, hashlib, pathlib, sys, zipfile
{before}
def build_wheel(directory, settings=None, metadata=None):
    {during}
    name = "{name}-{version}-py3-none-any.whl"
    info = "{name}-{version}.dist-info"
    files = {{
        "{module}.py": "version = {version!r}\\n",
        info + "/METADATA": "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n",
        info + "/WHEEL": "Wheel-Version: 1.0\\nGenerator: hand\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }}
    digest = lambda text: base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
    record = "".join(f"{{path}},sha256={{digest(text)}},{{len(text)}}\\n" for path, text in files.items())
    with zipfile.ZipFile(pathlib.Path(directory) / name, "w") as wheel:
        for path, text in (files | {{info + "/RECORD": record + info + "/RECORD,,\\n"}}).items():
            wheel.writestr(path, text)
    return name
"""


def offline(links: Path) -> dict[str, str]:
    """Variables with which uv and pip know no packages but those in `links`."""
    return {
        "UV_FIND_LINKS": str(links),
        "UV_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(links),
        "PIP_NO_INDEX": "1",
    }


def make_wheel(
    links: Path,
    name: str,
    version: str = "1.0",
    *,
    files: Mapping[str, str] | None = None,
    requires: Sequence[str] = (),
    record: Mapping[str, str] | None = None,
) -> Path:
    """A wheel in `links` with `files` (path → text), by default a module of its name that knows its version.

    `record` replaces digests of single files, so that the wheel lies about them.
    """
    info = f"{name}-{version}.dist-info"
    needed = "".join(f"Requires-Dist: {one}\n" for one in requires)
    content = dict(files or {f"{name}.py": f"version = {version!r}\n"}) | {
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{needed}",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    digests = {path: _digest(text) for path, text in content.items()} | dict(record or {})
    lines = [f"{path},sha256={digest},{len(content[path].encode())}\n" for path, digest in digests.items()]
    content[f"{info}/RECORD"] = "".join([*lines, f"{info}/RECORD,,\n"])
    links.mkdir(parents=True, exist_ok=True)
    path = links / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        for inside, text in content.items():
            wheel.writestr(inside, text)
    return path


def make_source(links: Path, name: str, version: str = "1.0", *, before: str = "", during: str = "pass") -> Path:
    """Sources in `links` that are built by a backend inside them.

    `before` is run whenever it is loaded, which is several times a build, `during` (one line) once a build.
    """
    files = {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": _BACKEND.format(name=name, version=version, module=name, before=before, during=during),
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
    }
    links.mkdir(parents=True, exist_ok=True)
    path = links / f"{name}-{version}.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for inside, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{inside}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
