"""Which of how many processes this is, as torchrun and srun tell it."""

from __future__ import annotations

import pytest

from medseg.errors import UserError
from medseg.training.ranks import Ranks, first_host, ranks_here, told

TORCHRUN = {
    "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node1", "MASTER_PORT": "1234",
}  # fmt: skip
SRUN = {
    "SLURM_STEP_NUM_TASKS": "4", "SLURM_STEP_NUM_NODES": "2", "SLURM_PROCID": "2", "SLURM_LOCALID": "0",
    "SLURM_JOB_ID": "77", "SLURM_STEP_ID": "0", "SLURM_STEP_NODELIST": "gpu[07-08]",
}  # fmt: skip


def test_torchrun_tells_the_place() -> None:
    assert told(TORCHRUN) == Ranks(3, 4, 1, 2, "node1", 1234)
    assert told(TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}) is None


def test_srun_tells_the_place_and_its_tasks_agree_on_where_to_meet() -> None:
    places = [told(SRUN | {"SLURM_PROCID": str(r), "SLURM_LOCALID": str(r % 2)}) for r in range(4)]
    assert [(p.rank, p.node, p.local_rank) for p in places if p] == [
        (0, 0, 0),
        (1, 0, 1),
        (2, 1, 0),
        (3, 1, 1),
    ]
    assert {(p.address, p.port) for p in places if p} == {("gpu07", 15000 + 17 * 77)}
    batch_script = {"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "77"}
    assert told(batch_script) is None
    assert told({}) is None


@pytest.mark.parametrize(
    ("nodes", "host"),
    [
        ("gpu[07-09,12],login", "gpu07"),
        ("one", "one"),
        ("a1,a2", "a1"),
        ("n[1-2]-ib", "n1-ib"),
        ("", "127.0.0.1"),
    ],
)
def test_the_first_host_of_a_list(nodes: str, host: str) -> None:
    assert first_host(nodes) == host


def test_a_process_alone_starts_the_others_itself_on_one_machine_only() -> None:
    assert ranks_here(1, 1, {}) == Ranks()
    assert ranks_here(2, 1, {}) is None
    with pytest.raises(UserError, match=r"training\.num_nodes: .*srun or torchrun"):
        ranks_here(2, 2, {})


def test_other_numbers_than_asked_for_are_refused_with_those_to_set() -> None:
    assert ranks_here(2, 2, TORCHRUN) == Ranks(3, 4, 1, 2, "node1", 1234)
    with pytest.raises(UserError, match=r"set training\.devices=2 training\.num_nodes=2"):
        ranks_here(4, 1, TORCHRUN)
