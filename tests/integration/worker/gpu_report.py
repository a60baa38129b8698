"""Prints what the driver of this machine says, as JSON; run in a process of its own, since NVML is loaded only once."""

import dataclasses
import json
import sys

from flashtrial.core.gpu import telemetry
from flashtrial.core.gpu.driver import NoGpus
from flashtrial.core.gpu.nvml import open_nvml
from flashtrial.testing.recorded_gpus import recording_of


def main() -> None:
    before = "pynvml" in sys.modules
    driver = open_nvml()
    moment = recording_of(driver)
    taken = telemetry.sample(driver, {"trainer": [4711]})
    driver.close()
    report = {
        "imported_early": before,
        "reason": driver.reason if isinstance(driver, NoGpus) else None,
        "readings": [dataclasses.asdict(reading) for reading in moment],
        "broken": [reading.health.is_broken for reading in moment],
        "failures": dict(driver.failures),
        "values": dict(taken.values),
        "children": {child: dict(sizes) for child, sizes in taken.children.items()},
    }
    print(json.dumps(report))


main()
