"""What is taken as a dependency, and when one is met."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest

from flashtrial.protocol.execution import FailureKind
from flashtrial.worker.install.install_errors import RequirementRefused
from flashtrial.worker.install.requirements import missing, normalised, parse, parse_one


@dataclass(frozen=True)
class Installed:
    version: str
    requires: Sequence[str] = ()


def lacking(dependencies: Sequence[str], base: Mapping[str, Installed]) -> list[str]:
    return [normalised(one) for one in missing(parse(tuple(dependencies)), base)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("-r /etc/passwd", "option"),
        ("-r/etc/passwd", "option"),
        ("--index-url=http://evil.example", "option"),
        ("--extra-index-url http://evil.example six", "option"),
        ("-e .", "option"),
        ("-c constraints.txt", "option"),
        ("six --index-url http://evil.example", "option"),
        ("six -r /etc/passwd", "option"),
        ("six --hash=sha256:00", "option"),
        ("six\n--index-url=http://evil.example", "line break"),
        ("six\r-r /etc/passwd", "line break"),
        ("six\x00", "control character"),
        ("six; rm -rf /", "option"),
        ("six; touch x", "shell character ';'"),
        ("six && touch x", "shell character '&'"),
        ("six | sh", "shell character '|'"),
        ("$(touch x)", "shell character '$'"),
        ("`touch x`", "shell character '`'"),
        ("six > /tmp/x", "shell character '>'"),
        ("six>x && y", "shell character"),
        ("${HOME}", "shell character '$'"),
        ("six # comment", "shell character '#'"),
        ("./package", "local path"),
        ("../package", "local path"),
        ("/etc/passwd", "local path"),
        ("~/package", "local path"),
        (".", "local path"),
        ("folder/package", "local path"),
        ("C:\\package", "local path"),
        ("package-1.0-py3-none-any.whl", "local path"),
        ("package-1.0.tar.gz", "local path"),
        ("requirements.txt", "local path"),
        ("file:///etc/passwd", "bare address"),
        ("https://example.org/x.whl", "bare address"),
        ("git+https://example.org/x", "bare address"),
        ("six @ file:///etc/passwd", "local path"),
        ("six @ /etc/passwd", "local path"),
        ("six @ ./here", "local path"),
        ("six @ git+file:///repository", "local path"),
        ("six @ git+ssh://example.org/x", "unknown kind of address"),
        ("six @ https://-oProxyCommand=x/y.whl", "unknown kind of address"),
        ("six @ https://example.org/${RUNPOD_API_KEY}/six.whl", "character '$'"),
        ("", "empty"),
        ("   ", "empty"),
        ("six==", "not a requirement"),
        ("six[", "not a requirement"),
        ("two words", "not a requirement"),
        ("six☃", "not a requirement"),
    ],
)
def test_anything_but_a_requirement_is_refused_by_name(text: str, said: str) -> None:
    with pytest.raises(RequirementRefused) as caught:
        parse(("numpy", text))
    assert said in str(caught.value)
    assert repr(text) in str(caught.value)
    assert caught.value.kind is FailureKind.REQUEST


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("numpy", "numpy"),
        (" NumPy >= 2 , <3 ", "numpy<3,>=2"),
        ("Scikit_Learn~=1.5", "scikit-learn~=1.5"),
        ("uvicorn[Standard,b_c]==0.30", "uvicorn[b-c,standard]==0.30"),
        ("six @ https://example.org/six-1.0.whl", "six @ https://example.org/six-1.0.whl"),
        ("six @ git+https://example.org/six@v1", "six @ git+https://example.org/six@v1"),
        ("torch==2.6.0+cpu", "torch==2.6.0+cpu"),
    ],
)
def test_spellings_of_one_requirement_become_one(text: str, spelled: str) -> None:
    assert normalised(parse_one(text)) == spelled


def test_markers_decide_and_repetitions_count_once() -> None:
    here, elsewhere = f"sys_platform == '{sys.platform}'", "python_version < '3'"
    assert [one.name for one in parse((f"a; {here}", f"b; {elsewhere}", "c", "c"))] == ["a", "c"]


@pytest.mark.parametrize(
    ("dependency", "version", "met"),
    [
        ("x", "1.0", True),
        ("x>=2", "1.9.9", False),
        ("x>=2", "2.0", True),
        ("x==1.0", "1.0.0", True),
        ("x==1.*", "1.9", True),
        ("x~=1.4.2", "1.5", False),
        ("x!=1.5", "1.5", False),
        ("x>=2", "2.0rc1", False),
        ("x>=1", "2.0rc1", True),  # what is there is there, a pre-release too
        ("x==2.6.0", "2.6.0+cu124", True),
        ("x==2.6.0+cpu", "2.6.0+cu124", False),
        ("x>=1.10", "1.9", False),  # versions, not strings
        ("x<2", "not.a.version!", False),
        ("x @ https://example.org/x-1.0.whl", "1.0", False),
    ],
)
def test_versions_are_really_compared(dependency: str, version: str, met: bool) -> None:
    assert (lacking([dependency], {"x": Installed(version)}) == []) is met


def test_what_the_base_lacks_is_missing_under_any_spelling() -> None:
    base = {"scikit-learn": Installed("1.5")}
    assert lacking(["Scikit_Learn", "other"], base) == ["other"]


SERVER = Installed("1.0", ["fast>=2; extra == 'quick'", "plain", "more[deep]; extra == 'all'", "odd; extra == 'none'"])


@pytest.mark.parametrize(
    ("dependency", "others", "met"),
    [
        ("server", {}, True),
        ("server[quick]", {}, False),
        ("server[quick]", {"fast": Installed("1.9")}, False),
        ("server[quick]", {"fast": Installed("2.1")}, True),
        ("server[all]", {"more": Installed("1", ["leaf; extra == 'deep'"])}, False),
        ("server[all]", {"more": Installed("1", ["leaf; extra == 'deep'"]), "leaf": Installed("1")}, True),
        ("server[unheard-of]", {}, True),
    ],
)
def test_extras_are_met_when_all_they_ask_for_is_there(
    dependency: str, others: Mapping[str, Installed], met: bool
) -> None:
    assert (lacking([dependency], {"server": SERVER, **others}) == []) is met


def test_extras_that_ask_for_each_other_end() -> None:
    base = {"a": Installed("1", ["b[x]; extra == 'x'"]), "b": Installed("1", ["a[x]; extra == 'x'"])}
    assert lacking(["a[x]"], base) == []


def test_extra_of_a_marker_with_a_platform_needs_both() -> None:
    base = {"a": Installed("1", ["b; extra == 'x' and python_version < '3'", "c; extra == 'x'"]), "c": Installed("1")}
    assert lacking(["a[x]"], base) == []
