"""Where machine code is kept, and that a cache which cannot be used does no harm."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medseg.data import machine_code

COUNT = """
import numpy as np
from medseg.evaluation.code_maps import CodeMaps
codes = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
maps = CodeMaps(codes, codes % 7)
masks = maps.masks([3, 4], maps.box([3, 4]))
print(int(maps.table[8, 1]), [int(np.bitwise_count(mask).sum()) for mask in masks])
"""


def run(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder)}
    return subprocess.Popen(
        [sys.executable, "-c", COUNT],
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def outcome(process: subprocess.Popen[str]) -> tuple[str, str]:
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out, err


def test_processes_that_start_at_once_share_one_cache(tmp_path: Path) -> None:
    together = [run(tmp_path) for _ in range(3)]
    answers = {outcome(process)[0] for process in together}
    assert answers == {"1 [2, 17]\n"}
    before = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.nbc")}
    assert len(before) == 2  # one counts, one cuts
    assert {outcome(run(tmp_path))[0]} == answers
    assert {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.nbc")} == before


def test_a_damaged_cache_is_not_used(tmp_path: Path) -> None:
    good, _ = outcome(run(tmp_path))
    for file in tmp_path.rglob("*.nbc"):
        file.write_bytes(file.read_bytes()[:100])
    again, warning = outcome(run(tmp_path))
    assert again == good
    assert "is made again" in warning
    assert outcome(run(tmp_path)) == (good, "")  # mended for those that come after


def test_without_a_place_to_write_kernels_work_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    # numba caches beside a function's file or for the user, but only if there is such a file.
    nowhere: dict[str, Any] = {}
    source = "def double(values):\n    for i in range(values.size):\n        values[i] *= 2\n"
    exec(compile(source, "<no file>", "exec"), nowhere)
    values = np.arange(5, dtype=np.float32)
    with caplog.at_level(logging.WARNING, machine_code.__name__):
        machine_code.compiled(nowhere["double"])(values)
    np.testing.assert_array_equal(values, [0, 2, 4, 6, 8])
    assert "double is compiled anew in every process" in caplog.text


def _broken(values: Any) -> None:
    values.no_such_method()


def test_a_kernel_that_is_wrong_says_so() -> None:
    with pytest.raises(Exception, match="no_such_method"):
        machine_code.compiled(_broken)(np.zeros(3, np.float32))
