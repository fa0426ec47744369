"""1, 2 and 3 ranks with 1, 3, 7 and 11 validation cases: each case once, and the numbers of one process."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from faults.conftest import Forks
from medseg.inference.bundle import Bundle, save_bundle

from .ranked import run
from .sharded import COUNTS

WORLDS = (1, 2, 3)


@pytest.fixture(scope="module")
def trained(forks: Forks, balls: Path, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Run, cohort and store: a model that is told to have seen nobody, and a store of all cases."""
    runs = tmp_path_factory.mktemp("trained")
    words = [
        "train", "data=folder", f"data.root={balls}", "data.name=balls", f"data.cache={cache}",
        f"runs={runs}", "name=balls", "id=seen", "tracking=local", "training.minutes=null",
        "training.steps=1", "training.volume_validations=0", "training.validation_patches=0",
        "plan.patch_size=[16,16,16]", "plan.batch_size=2", "plan.width=4", "inference.flips=false",
    ]  # fmt: skip
    assert run(forks, words, 1) == [0]
    seen, unseen = runs / "balls" / "seen", runs / "balls" / "unseen"
    unseen.mkdir()
    for name in ("split.json", "plan.yaml", "config.yaml", "record.json"):
        shutil.copy(seen / name, unseen)
    bundle = Bundle.load(seen / "model")
    save_bundle(
        unseen / "model", bundle.network(), bundle.network_spec, bundle.fusion_spec, bundle.plan,
        bundle.labels, bundle.cohort, {}, patients=(),
    )  # fmt: skip
    store = next((cache / "balls" / "stores").iterdir())
    return [str(unseen), str(balls), str(store)]


@pytest.fixture(scope="module")
def validated(trained: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """World -> the folder that its ranks have filled."""
    folders = {}
    for world in WORLDS:
        folders[world] = tmp_path_factory.mktemp(f"world{world}")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = str(free.getsockname()[1])
        script, (model, cohort, store) = str(Path(__file__).with_name("sharded.py")), trained
        processes = [
            subprocess.Popen(
                [
                    sys.executable,
                    script,
                    str(rank),
                    str(world),
                    model,
                    str(folders[world]),
                    port,
                    cohort,
                    store,
                ],
                env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"},
            )
            for rank in range(world)
        ]
        try:
            assert [process.wait(timeout=600) for process in processes] == [0] * world
        finally:
            for process in processes:
                process.kill()
                process.wait()
    return folders


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("world", WORLDS[1:])
def test_each_case_is_scored_once_with_the_numbers_of_one_process(
    validated: dict[int, Path], world: int, count: int
) -> None:
    alone, several = (validated[n] / str(count) for n in (1, world))
    assert (several / "cases.csv").read_bytes() == (alone / "cases.csv").read_bytes()
    rows = [line.split(",") for line in (several / "cases.csv").read_text().splitlines()[1:]]
    assert len({row[0] for row in rows}) == count
    assert len({(row[0], row[4], row[5]) for row in rows}) == len(rows)
    assert json.loads((several / "summary.json").read_text()) == json.loads(
        (alone / "summary.json").read_text()
    )
    expected = json.loads((alone / "0.json").read_text())
    assert "validation_volume/dice" in expected
    for rank in range(world):
        assert json.loads((several / f"{rank}.json").read_text()) == expected
    predicted = {
        path.name: gzip.decompress(path.read_bytes())
        for path in (alone / "predictions" / "validation").glob("*.gz")
    }
    assert len(predicted) == count
    for name, content in predicted.items():
        written = (several / "predictions" / "validation" / name).read_bytes()
        assert gzip.decompress(written) == content
