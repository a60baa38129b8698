"""Which process of a distributed job this is, as its launcher says."""

import pytest

from flashtrial.tracking.settings.ranks import rank_of


@pytest.mark.parametrize(
    ("environment", "rank"),
    [
        ({}, 0),
        ({"RANK": "3", "WORLD_SIZE": "8", "LOCAL_RANK": "1"}, 3),
        ({"RANK": "0", "WORLD_SIZE": "8", "SLURM_PROCID": "5", "SLURM_NTASKS": "8"}, 0),
        ({"RANK": "3"}, 0),
        ({"RANK": "3", "WORLD_SIZE": "1"}, 0),
        ({"RANK": "colonel", "WORLD_SIZE": "8"}, 0),
        ({"SLURM_PROCID": "5", "SLURM_NTASKS": "8"}, 5),
        ({"SLURM_PROCID": "5", "SLURM_NTASKS": "1"}, 0),
    ],
)
def test_the_rank_is_what_the_launcher_says_of_several_processes(environment: dict[str, str], rank: int) -> None:
    assert rank_of(environment) == rank
