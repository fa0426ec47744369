"""Files that are whole or not there, and what killed processes leave of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from medseg.files import atomic_path, scratch_folder, sweep, write_text

WRITING = """
import sys, time
from pathlib import Path
from medseg.files import atomic_path, scratch_folder

folder = Path(sys.argv[1])
with atomic_path(folder / "a.txt") as file, scratch_folder(folder / "b") as inner:
    file.write_text("half")
    (inner / "part").write_text("half")
    print("ready", flush=True)
    time.sleep(600)
"""


def test_what_a_killed_process_was_writing_is_swept_and_what_a_living_one_writes_stays(
    tmp_path: Path,
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITING, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    before = sorted(tmp_path.iterdir())
    assert len(before) == 2
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
    process.send_signal(signal.SIGKILL)
    process.wait()
    write_text(tmp_path / "kept.txt", "whole")
    sweep(tmp_path)
    assert os.listdir(tmp_path) == ["kept.txt"]


def test_an_exception_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    write_text(target, "old")

    def fail() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("new")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_is_swept_as_it_is_made_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody sweeps between the making and the lock."""
    opened = os.open
    swept: list[str] = []

    def slow(path: Any, *rest: Any, **more: Any) -> int:
        if not swept:
            swept.append(str(path))
            os.rmdir(path)
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", slow)
    with scratch_folder(tmp_path / "b") as folder:
        assert folder.is_dir()
        assert str(folder) not in swept
    assert os.listdir(tmp_path) == []
