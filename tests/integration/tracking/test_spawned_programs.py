"""Programs that are imported once more by the children that they spawn."""

from pathlib import Path

import pytest

from .conftest import Lab

pytestmark = pytest.mark.integration

NO_SYNC = {"FLASHTRIAL_WORKER_ID": "worker_1"}  # inside a worker nothing is started


def run_file(lab: Lab, path: Path, source: str) -> str:
    """What a program printed whose file is `path`, which its children can import."""
    path.write_text(source, encoding="utf-8")
    ended = lab.run(f"import os, sys; os.execv(sys.executable, [sys.executable, {str(path)!r}])", **NO_SYNC)
    return ended.output + ended.errors


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_child_that_only_imports_the_program_opens_no_run(lab: Lab, tmp_path: Path, method: str) -> None:
    source = f"""
import multiprocessing
import flashtrial
run = flashtrial.init(name="the one", config={{"password": "open-sesame-please"}})
def work(number):
    run.log({{"from_child": float(number)}})
    run.alert("no entry with open-sesame-please")
    return run.id
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    with context.Pool(2, initializer=flashtrial.log, initargs=({{"begun": 1.0}},)) as pool:
        print(set(pool.map(work, range(4))) == {{run.id}})
"""
    assert run_file(lab, tmp_path / "program.py", source) == "True\n"
    records = lab.records()
    assert len({record.run_id for record in records}) == 1
    logged = [r.body["values"] for r in records if r.kind == "metric"]
    assert sorted(values["from_child"] for values in logged if "from_child" in values) == [0.0, 1.0, 2.0, 3.0]
    assert {r.body["value"]["title"] for r in records if r.kind == "data"} == {"no entry with ***"}
    assert {"begun": 1.0} in logged, "what starts a worker of the pool logs to the same run"
    assert [r.body["status"] for r in records if r.kind == "state"].count("finished") == 1


def test_a_run_of_its_own_that_a_worker_of_a_pool_opens_is_its_own(lab: Lab, tmp_path: Path) -> None:
    source = """
import multiprocessing
import flashtrial
run = flashtrial.init()
def work(number):
    with flashtrial.init(project="pool") as own:
        own.log({"x": float(number)})
    return own.id
if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        print(len({run.id, *pool.map(work, range(3), chunksize=1)}))
"""
    assert run_file(lab, tmp_path / "program.py", source) == "4\n"


def test_a_program_without_a_guard_has_one_run_and_comes_to_an_end(lab: Lab, tmp_path: Path) -> None:
    """Python refuses such a program; what counts is that its children leave no runs behind."""
    source = """
import multiprocessing
import flashtrial
run = flashtrial.init()
run.log({"x": 1.0})
process = multiprocessing.get_context("spawn").Process(target=print)
process.start()
process.join()
print(process.exitcode)
"""
    said = run_file(lab, tmp_path / "program.py", source)
    assert "1\n" in said
    assert "RuntimeError" in said
    records = lab.records()
    assert len({record.run_id for record in records}) == 1
    assert [r.body["status"] for r in records if r.kind == "state"] == ["running", "finished"]
    assert [r.body["values"] for r in records if r.kind == "metric"] == [{"x": 1.0}]
