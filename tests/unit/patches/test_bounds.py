"""Handles and memory do not depend on how many cases there are, nor on how large they are."""

from __future__ import annotations

import json
import os
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


def draw(folder: Path, samples: int) -> dict[str, int]:
    script = str(Path(__file__).with_name("draw_from_store.py"))
    done = subprocess.run(
        [sys.executable, script, str(folder), str(samples), str(HANDLES)],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    return draw(write(tmp_path_factory.mktemp("few"), 2, 64), 100)


def test_thousands_of_cases_do_not_exhaust_handles_or_memory(tmp_path: Path, few: dict[str, int]) -> None:
    """With the default limit of most systems, 1024, a handle for each of 3,000 cases would not do either."""
    many = draw(write(tmp_path, MANY, 12), MANY)
    assert many["cases"] == MANY
    assert many["handles"] < HANDLES
    # What grows is the list of cases itself (ids, sizes, hashes: some KiB each), not what was read.
    assert many["anonymous"] - few["anonymous"] < 40 * MIB
    assert many["ended"] - many["begun"] < 8 * MIB


def test_memory_does_not_grow_with_the_size_of_cases(tmp_path: Path, few: dict[str, int]) -> None:
    """A case of 384^3 is 216 MiB, one of 64^3 is 1 MiB; patches are the same."""
    large = draw(write(tmp_path, 2, 384), 100)
    assert large["cases"] == few["cases"] == 2
    assert large["anonymous"] - few["anonymous"] < 8 * MIB
    assert large["ended"] - large["begun"] < 8 * MIB
