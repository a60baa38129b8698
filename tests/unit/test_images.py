"""What the images, their locks and the workflows promise, read from the files themselves."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from flashtrial import __version__

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILES = ("Dockerfile", "Dockerfile-cpu")
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|_KEY")


def stages(name: str) -> list[list[str]]:
    """The instructions of each stage, continuation lines joined, comments gone."""
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    instructions = [
        " ".join(part.split()) for part in "\n".join(lines).replace("\\\n", " ").splitlines() if part.strip()
    ]
    starts = [number for number, text in enumerate(instructions) if text.startswith("FROM ")]
    return [instructions[start:end] for start, end in zip(starts, [*starts[1:], None], strict=True)]


def the(instruction: str, stage: list[str]) -> str:
    (found,) = [text.removeprefix(instruction).strip() for text in stage if text.startswith(f"{instruction} ")]
    return found


def locked(name: str) -> dict[str, str]:
    """Requirement with its marker → version."""
    found = re.findall(r"^([\w.-]+)==(\S+?)( ;[^\\]*?)? \\$", (ROOT / name).read_text(), re.MULTILINE)
    return {f"{package}{marker}": version for package, version, marker in found}


def bare(requirement: str) -> str:
    return re.split(r"[\[<>=!~ ;]", requirement, maxsplit=1)[0].lower()


def test_the_two_images_differ_in_nothing_but_their_base_and_their_names() -> None:
    cuda, cpu = [(ROOT / name).read_text().splitlines() for name in DOCKERFILES]
    differing = [b for a, b in zip(cuda, cpu, strict=True) if a != b]
    assert [line.split("=")[0].split(".")[0] for line in differing] == [
        "# A worker without a GPU",
        "ARG BASE_IMAGE",
        "LABEL org",
    ]


@pytest.mark.parametrize("name", DOCKERFILES)
class TestDockerfile:
    def test_the_base_is_pinned_to_a_version(self, name: str) -> None:
        (base,) = re.findall(r"^ARG BASE_IMAGE=(\S+)$", (ROOT / name).read_text(), re.MULTILINE)
        assert re.search(r":\d+\.\d+\.\d+-", base)

    def test_the_last_stage_copies_nothing_of_the_source_tree(self, name: str) -> None:
        worker = stages(name)[-1]
        assert not [text for text in worker if text.startswith(("COPY", "ADD"))]
        assert not [text for text in worker if re.search(r"\bsrc\b|/source\b|handler\.py", text.replace("source=", ""))]

    def test_its_command_is_the_console_script(self, name: str) -> None:
        command = json.loads(the("CMD", stages(name)[-1]))
        assert command == ["flashtrial", "worker"]
        assert command[0] in PROJECT["project"]["scripts"]

    def test_everything_it_installs_is_given_by_hash_or_is_our_wheel(self, name: str) -> None:
        installs = [text for stage in stages(name) for text in stage if "pip install" in text]
        assert len(installs) == 3
        assert all("--require-hashes" in text or "--no-index /wheel/flashtrial-" in text for text in installs)
        assert all("--no-deps" in text for text in installs)

    def test_the_dependencies_are_a_layer_that_no_change_of_the_sources_touches(self, name: str) -> None:
        worker = stages(name)[-1]
        (dependencies,) = [n for n, text in enumerate(worker) if "requirements-worker.lock" in text]
        (package,) = [n for n, text in enumerate(worker) if "/wheel/" in text]
        (commit,) = [n for n, text in enumerate(worker) if text.startswith("ARG COMMIT")]
        assert dependencies < package < commit
        assert "from=wheel" not in worker[dependencies]

    def test_the_health_check_starts_no_python(self, name: str) -> None:
        health = the("HEALTHCHECK", stages(name)[-1])
        assert "python" not in health
        assert json.loads(health[health.index("CMD") + 3 :])[:2] == ["sh", "-c"]

    def test_it_says_what_it_was_built_from(self, name: str) -> None:
        label = the("LABEL", stages(name)[-1])
        assert 'org.opencontainers.image.version="${VERSION}"' in label
        assert 'org.opencontainers.image.revision="${COMMIT}"' in label

    def test_the_hub_is_set_up_and_its_downloader_is_there(self, name: str) -> None:
        settings = " ".join(text for text in stages(name)[-1] if text.startswith("ENV "))
        assert {"HF_HOME=/hf-cache", "HF_HUB_ENABLE_HF_TRANSFER=1"} <= set(settings.split())
        assert "hf-transfer" in locked("requirements-worker.lock")

    def test_no_secret_is_an_argument_or_a_variable_of_the_build(self, name: str) -> None:
        named = [text for stage in stages(name) for text in stage if text.startswith(("ARG ", "ENV "))]
        assert named
        assert not [text for text in named if SECRET.search(text)]

    def test_the_user_stays_root_because_apt_needs_it(self, name: str) -> None:
        assert not [text for text in stages(name)[-1] if text.startswith("USER")]


def test_nothing_enters_a_build_that_is_not_named() -> None:
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert rules[0] == "*"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    assert let_in == {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "requirements-build.lock",
        "requirements-worker.lock",
        "src",
        "src/flashtrial",
    }
    assert rules.index("!src") < rules.index("src/*") < rules.index("!src/flashtrial")
    assert all((ROOT / name).exists() for name in let_in)


def test_an_image_holds_what_the_worker_needs_in_the_versions_that_the_tests_use() -> None:
    worker, tested = locked("requirements-worker.lock"), locked("requirements.lock")
    project = PROJECT["project"]
    wanted = [
        *project["dependencies"],
        *project["optional-dependencies"]["worker"],
        *PROJECT["dependency-groups"]["image"],
    ]
    assert {bare(requirement) for requirement in wanted} <= {bare(name) for name in worker}
    assert {name: version for name, version in worker.items() if bare(name) != "hf-transfer"}.items() <= tested.items()


def test_an_image_leaves_the_torch_of_its_base_alone() -> None:
    names = {bare(name) for name in locked("requirements-worker.lock")}
    assert not [name for name in names if name.startswith(("torch", "triton", "nvidia-c", "numpy"))]


@pytest.mark.parametrize("name", ["requirements-build.lock", "requirements-worker.lock"])
def test_each_requirement_of_a_lock_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.split(r"^(?=\S)", text, flags=re.MULTILINE)[1:]
    assert entries
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
class TestWorkflow:
    def test_it_may_nothing_but_what_each_job_asks_for(self, workflow: Path) -> None:
        text = workflow.read_text()
        jobs = re.findall(r"^  [\w-]+:$", text[text.index("\njobs:") :], re.MULTILINE)
        assert "\npermissions: {}\n" in text
        assert len(re.findall(r"^    permissions:$", text, re.MULTILINE)) == len(jobs)

    def test_actions_of_others_are_pinned_by_hash(self, workflow: Path) -> None:
        for action, reference in re.findall(r"uses: ([\w/.-]+)@(\S+)", workflow.read_text()):
            assert action.startswith("actions/") or re.fullmatch(r"[0-9a-f]{40}", reference), action

    def test_its_secrets_and_variables_are_named_in_contributing(self, workflow: Path) -> None:
        contributing = (ROOT / "CONTRIBUTING.md").read_text()
        for name in re.findall(r"(?:secrets|vars)\.(\w+)", workflow.read_text()):
            assert f"`{name}`" in contributing


def test_pull_requests_and_main_run_the_gates_the_fixtures_and_the_linters() -> None:
    ci = (ROOT / ".github/workflows/ci.yml").read_text()
    assert {"pull_request:", "workflow_dispatch:", "branches: [main]", ".ci/run", "scripts/check_images.sh"} <= {
        part for line in ci.splitlines() for part in (line.strip(), line.strip().removeprefix("- run: "))
    }
    run = (ROOT / ".ci/run").read_text().splitlines()
    assert {"make check", "make test-handler", "make test test-all"} <= set(run)


def test_a_release_changes_the_version_in_every_place_that_says_it() -> None:
    config = json.loads((ROOT / "release-please-config.json").read_text())
    released = json.loads((ROOT / ".release-please-manifest.json").read_text())
    assert config["release-type"] == "python"
    assert config["packages"].keys() == released.keys() == {"."}
    assert config["packages"]["."]["package-name"] == PROJECT["project"]["name"]
    assert PROJECT["project"]["version"] == __version__
    # the one spelling that the tool finds
    assert re.search(
        r'^__version__ = "\d+\.\d+\.\d+"$', (ROOT / "src/flashtrial/__init__.py").read_text(), re.MULTILINE
    )
    assert [int(n) for n in released["."].split(".")] <= [int(n) for n in __version__.split(".")]
