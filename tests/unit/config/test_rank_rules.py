"""Batches and ranks are held against each other before anything is loaded."""

from __future__ import annotations

import re

import pytest

from medseg.config.compose import compose
from medseg.config.rank_rules import refuse_sweep_of_ranks
from medseg.errors import UserError


def told(*words: str) -> list[str]:
    return list(compose("train", list(words)).problems)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["plan.batch_size=4", "training.devices=3"],
            "plan.batch_size: 4 patches .* multiple of 3, such as 6",
        ),
        (
            ["plan.batch_size=4", "training.devices=2", "training.accumulate=4"],
            "plan.batch_size: .* multiple of 8, such as 8",
        ),
        (
            ["plan.batch_size=4", "training.unlabelled_batch_size=6", "training.num_nodes=4"],
            "training.unlabelled_batch_size: 6 .* such as 8",
        ),
        (
            ["training.devices=2", "training.sync_batchnorm=true", "training.accelerator=cpu"],
            "training.sync_batchnorm: runs on GPUs alone",
        ),
        (["training.strategy=fsdp"], "training.strategy: fsdp shares a network .*there is one"),
        (
            ["training.strategy=fsdp", "training.devices=2", "objective=simclr"],
            "training.strategy: fsdp cannot train by SimCLR; .*supervised",
        ),
        (
            ["training.strategy=fsdp", "training.devices=2", "finetuning.frozen_stages=2"],
            "training.strategy: fsdp cannot freeze",
        ),
        (
            ["training.strategy=fsdp", "training.devices=2", "training.precision=16-mixed"],
            "training.strategy: fsdp cannot scale",
        ),
        (["training.lr_scaling=linear"], "training.lr_scaling: .*give both, or neither"),
        (["training.strategy=horovod"], "training.strategy: 'horovod' is unknown"),
        (["training.devices=0"], "training.devices: 0 is less than 1"),
    ],
)
def test_what_cannot_work_is_refused(words: list[str], line: str) -> None:
    found = told(*words)
    assert len(found) == 1, found
    assert re.match(line, found[0]), found


def test_what_can_work_is_not() -> None:
    assert told("plan.batch_size=4", "training.devices=2", "training.accumulate=2") == []
    assert (
        told("training.devices=2", "training.strategy=fsdp", "objective=mean_teacher", "plan.batch_size=2")
        == []
    )
    assert told("training.lr_scaling=sqrt", "training.lr_reference_batch=2", "plan.batch_size=8") == []


def test_a_sweep_on_ranks_of_torchrun_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_sweep_of_ranks()
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    with pytest.raises(UserError, match="-m: a sweep is one process"):
        refuse_sweep_of_ranks()
