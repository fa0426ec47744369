"""A rank that dies, raises or computes no number ends all ranks soon, with one line that names the cases."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faults.conftest import Forks

from .ranked import PARTS, breaking, now, record, run, told

SOON = 60.0


@pytest.mark.parametrize(
    ("how", "line"),
    [
        ("kill", r"rank 1 has died without a word.* at step 3 on cases case_\d\d"),
        ("nan", r"step 3: the loss is nan on cases case_\d\d"),
        pytest.param(
            "raise",
            r"rank 1 failed: RuntimeError: the disk is on fire at step 3 on cases case_\d\d",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_one_broken_rank_ends_all_and_the_run_goes_on(
    forks: Forks, words: list[str], tmp_path: Path, how: str, line: str
) -> None:
    folder, since, mark = tmp_path / "runs" / "balls" / f"of-{how}", now(forks), tmp_path / "broken"
    asked = [*breaking(words), f"id=of-{how}", "training.volume_validations=0"]
    found = run(forks, asked, 2, BREAK=f"{how} 1 3 {mark}")
    assert time.time() - mark.stat().st_mtime < SOON
    assert [code == 0 for code in found] == [False, False], told(forks, since)
    assert re.search(line, told(forks, since)), told(forks, since)
    assert not (folder / "model").exists()
    assert [path.name[:8] for path in (folder / "checkpoints").iterdir()] == ["00000002"]
    assert not list(folder.rglob(".tmp-*"))
    assert run(forks, asked, 2) == [0, 0], told(forks, since)
    assert record(folder)["status"] == "finished"


def ranks_started_by_medseg(words: list[str], how: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(PARTS), os.environ.get("PYTHONPATH", "")])
    # A job in the background of a shell ignores interrupts, and so would what it starts.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        return subprocess.Popen(
            [sys.executable, "-m", "medseg.cli", *breaking(words), "training.devices=2", "id=here"],
            env=os.environ | {"BREAK": how, "OMP_NUM_THREADS": "1", "PYTHONPATH": path.strip(os.pathsep)},
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, before)


def left_over(group: int) -> bool:
    """Whether a process of a session still runs, after a moment for Python's own helper to notice the end."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return False
        time.sleep(0.1)
    return True


def test_medseg_starts_the_ranks_itself_and_tells_which_one_was_killed(
    words: list[str], tmp_path: Path
) -> None:
    process = ranks_started_by_medseg(words, f"kill 1 3 {tmp_path / 'broken'}")
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    lines = [line for line in errors.splitlines() if line.startswith("rank ")]
    assert len(lines) == 1, errors
    assert re.match(r"rank 1 was ended by SIGKILL .* at step 3 on cases case_\d\d", lines[0])
    assert "Traceback" not in errors
    assert not left_over(process.pid)


def test_an_interrupt_ends_all_ranks(words: list[str], tmp_path: Path) -> None:
    process = ranks_started_by_medseg(words, f"sleep 1 3 {tmp_path / 'broken'}")
    checkpoints = tmp_path / "runs" / "balls" / "here" / "checkpoints"
    deadline = time.monotonic() + 300
    while not list(checkpoints.glob("*.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, errors = process.communicate(timeout=SOON)
    assert time.monotonic() - begun < SOON
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert not left_over(process.pid)
