"""Ranks in processes of their own: every sample once, whatever the workers, ranks and restarts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

EPOCHS, STEPS, GLOBAL = 3, 5, 4
SIZES = {"labelled": GLOBAL, "unlabelled": 2 * GLOBAL}
Ranks = list[list[dict[str, Any]]]


def job(
    shared: tuple[Path, Path], folder: Path, world: int, workers: int, state: dict[str, int] | None = None
) -> Ranks:
    """What each rank of a job drew, batch after batch."""
    folder.mkdir()
    words = [
        [str(shared[0]), str(shared[1]), str(folder / f"{rank}.json"), str(rank), str(world), str(workers),
         str(GLOBAL // world), str(EPOCHS), str(STEPS), str(folder / "rendezvous"),
         *([] if state is None else [json.dumps(state)])]
        for rank in range(world)
    ]  # fmt: skip
    script, environment = str(Path(__file__).with_name("rank.py")), os.environ | {"OMP_NUM_THREADS": "1"}
    processes = [subprocess.Popen([sys.executable, script, *w], env=environment) for w in words]
    try:
        assert [process.wait(timeout=240) for process in processes] == [0] * world
    finally:
        for process in processes:
            process.kill()
            process.wait()
    told = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(world)]
    assert all(one == told[0] for one in told)
    ranks: Ranks = told[0]
    return ranks


def samples(ranks: Ranks) -> Iterator[tuple[str, int, int, str]]:
    """``(stream, epoch, number, hash)`` of every sample that any rank drew."""
    for batches in ranks:
        for batch in batches:
            yield from (tuple(sample) for sample in batch["samples"])


@pytest.fixture(scope="module")
def alone(shared: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    return job(shared, tmp_path_factory.mktemp("alone") / "job", world=1, workers=0)


@pytest.fixture(scope="module")
def pair(shared: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Ranks:
    return job(shared, tmp_path_factory.mktemp("pair") / "job", world=2, workers=4)


def test_two_ranks_of_four_workers_draw_every_sample_once(pair: Ranks) -> None:
    drawn = [sample[:3] for sample in samples(pair)]
    expected = [
        (stream, epoch, number)
        for stream, size in SIZES.items()
        for epoch in range(EPOCHS)
        for number in range(STEPS * size)
    ]
    assert len(drawn) == len(set(drawn))
    assert sorted(drawn) == sorted(expected)
    assert all(len(batches) == EPOCHS * STEPS for batches in pair)
    one, other = ({sample[:3] for sample in samples([rank])} for rank in pair)
    assert len(one) == len(other)


def test_one_rank_without_workers_draws_the_same_samples(alone: Ranks, pair: Ranks) -> None:
    assert sorted(samples(alone)) == sorted(samples(pair))
    # Not only over the whole run: each step of the job sees the same global batch.
    for step in range(EPOCHS * STEPS):
        together = [tuple(s) for rank in pair for s in rank[step]["samples"]]
        assert sorted(together) == sorted(tuple(s) for s in alone[0][step]["samples"])


def test_samples_differ_from_each_other(alone: Ranks) -> None:
    prints = [print_ for *_, print_ in samples(alone)]
    assert len(set(prints)) == len(prints)


def test_new_processes_go_on_within_an_epoch(shared: tuple[Path, Path], pair: Ranks, tmp_path: Path) -> None:
    after = STEPS + 2
    state = pair[0][after - 1]["state"]
    assert state == pair[1][after - 1]["state"] == {"epoch": after // STEPS, "batch": after % STEPS}
    resumed = job(shared, tmp_path / "job", world=2, workers=1, state=state)
    assert resumed == [rank[after:] for rank in pair]
