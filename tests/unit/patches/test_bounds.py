"""Handles and memory do not depend on how many cases there are, nor on how large they are."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from medseg.data.geometry import Geometry
from medseg.data.preprocess import Prepared
from medseg.data.store_case import SETTLED, write_case

pytestmark = pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc")
MANY = 3000
MIB = 1024
HANDLES = 64


def write(folder: Path, count: int, size: int) -> Path:
    """``count`` stored cases of ``size`` voxels cubed, with two classes."""
    shape = (size, size, size)
    affine = tuple(tuple(float(value) for value in row) for row in np.eye(4))
    whole = ((0, size), (0, size), (0, size))
    geometry = Geometry(
        shape, affine, (0, 1, 2), (False,) * 3, whole, (1.0,) * 3, (1.0,) * 3, shape, 3
    )  # type: ignore[arg-type]  # fmt: skip
    label = np.zeros(shape, np.uint8)
    label[: size // 2, : size // 4, : size // 4], label[-3:, -3:, -3:] = 1, 2
    prepared = Prepared(np.ones((1, *shape), np.float32), label, np.ones(1, bool), geometry)
    for number in range(count):
        write_case(folder / f"{number:05d}", f"case{number}", "key", prepared)
        (folder / f"{number:05d}" / SETTLED).touch()
    return folder


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, int]]:
    """What drawing took from two small cases, two large ones, and thousands."""
    root = tmp_path_factory.mktemp("stores")
    sizes = {"small": (2, 64), "large": (2, 384), "many": (MANY, 12)}
    folders = [str(write(root / name, count, size)) for name, (count, size) in sizes.items()]
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("draw_from_store.py")), "100", str(HANDLES), *folders],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
    )
    shutil.rmtree(root)
    assert done.returncode == 0, done.stderr[-2000:]
    return dict(zip(sizes, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_thousands_of_cases_do_not_exhaust_handles(drawn: dict[str, dict[str, int]]) -> None:
    assert drawn["many"]["cases"] == MANY
    assert max(found["handles"] for found in drawn.values()) < HANDLES


def test_memory_does_not_grow_with_the_cases_that_were_seen(drawn: dict[str, dict[str, int]]) -> None:
    many = drawn["many"]
    assert many["most"] - many["begun"] < 8 * MIB
    # What their number costs is the list of them (ids, sizes, hashes: some KiB each), not what was read.
    assert many["most"] - drawn["large"]["most"] < 40 * MIB


def test_memory_does_not_grow_with_the_size_of_cases(drawn: dict[str, dict[str, int]]) -> None:
    """A case of 384^3 is 216 MiB, one of 64^3 is 1 MiB; patches are the same."""
    assert drawn["small"]["cases"] == drawn["large"]["cases"] == 2
    assert drawn["large"]["most"] - drawn["small"]["most"] < 8 * MIB
    assert drawn["large"]["ended"] - drawn["large"]["begun"] < 8 * MIB
