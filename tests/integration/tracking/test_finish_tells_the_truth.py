"""What `finish` says of a run whose home was removed, and of one that goes to several servers."""

import json

import pytest

from flashtrial.tracking.journal.reader import JournalReader

from .conftest import NOWHERE, Lab, StandIn

pytestmark = pytest.mark.integration


def test_a_home_removed_under_a_run_loses_none_of_its_records(lab: Lab) -> None:
    script = """
import os, shutil, flashtrial
run = flashtrial.init()
run.log({"x": 1.0})
shutil.rmtree(os.environ["FLASHTRIAL_HOME"])
run.log({"x": 2.0})
report = run.finish()
print(report.written, report.sent, report.pending, report.lost)
"""
    with StandIn() as stand_in:
        lab.url = stand_in.url
        ended = lab.run(script)
        values = [record.body["values"]["x"] for record in stand_in.backend.stored.values() if record.kind == "metric"]
    assert ended.output == "4 4 0 0\n", ended
    assert values == [1.0, 2.0]
    assert "it was put back" in ended.errors


def test_a_journal_that_cannot_be_put_back_is_lost_and_said(lab: Lab) -> None:
    """Where the home was is a file now."""
    script = """
import os, shutil, flashtrial
run = flashtrial.init(settings={"sync_process_enabled": False})
run.log({"x": 1.0})
shutil.rmtree(os.environ["FLASHTRIAL_HOME"])
open(os.environ["FLASHTRIAL_HOME"], "w").close()
run.log({"x": 2.0})
report = run.finish(timeout_s=0)
print(report.written, report.sent, report.pending, report.lost)
os.unlink(os.environ["FLASHTRIAL_HOME"])
"""
    ended = lab.run(script, FLASHTRIAL_WORKER_ID="worker_1")
    assert ended.output == "0 0 0 4\n", ended
    assert "4 could not be written and are lost" in ended.errors
    assert "could not be put back" in ended.errors


def test_all_of_a_run_goes_to_the_destinations_that_its_settings_name(lab: Lab) -> None:
    """Its console, too, and though the environment, which the sync process goes by, names fewer."""
    script = """
import json, flashtrial
run = flashtrial.init(settings={"backends": "mlflow"})
elsewhere = run.finish(timeout_s=0)
run = flashtrial.init(settings={"backends": ["native", "mlflow"], "console": True})
print("words", flush=True)
report = run.finish(timeout_s=0)
print(json.dumps([elsewhere.url, [each.destination for each in report.arrivals]]))
"""
    ended = lab.run(script, MLFLOW_TRACKING_URI=NOWHERE, FLASHTRIAL_BACKENDS="native")
    lab.end_sync()
    assert json.loads(ended.output.splitlines()[-1]) == [NOWHERE, ["native", "mlflow"]], ended
    named = [JournalReader.open(path).header.facts["backends"] for path in lab.outbox.glob("*.journal")]
    assert (named.count(["mlflow"]), named.count(["native", "mlflow"]), len(named)) == (1, 2, 3)
