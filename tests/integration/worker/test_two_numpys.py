"""Two functions that need different versions of one package run side by side on one worker."""

import asyncio

import pytest

from flashtrial.worker.entrypoint import Worker
from testkit.jobs import function_job

pytestmark = [pytest.mark.network, pytest.mark.timeout(300)]

SOURCE = """
def f():
    import numpy
    square = numpy.arange(16.0).reshape(4, 4)
    return [numpy.__version__, numpy.__file__, float((square @ square).sum())]
"""


async def test_numpy_of_two_versions_serves_two_functions_at_once(forking_worker: Worker) -> None:
    versions = ("2.1.3", "2.2.6")
    jobs = [function_job(SOURCE, dependencies=[f"numpy=={version}"]) for version in versions]
    answers = await asyncio.gather(*map(forking_worker.handle, [*jobs, *jobs]))
    results = [answer.get("json_result", answer) for answer in answers]
    assert [result[0] for result in results] == [*versions, *versions]
    assert len({result[1] for result in results}) == 2
    assert len({result[2] for result in results}) == 1
    base = await forking_worker.handle(function_job(SOURCE))
    assert base["json_result"][0] not in versions
