"""Where the runs of a study stand, from their folders."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.cli import main
from medseg.config.launchers.queue import Place
from medseg.config.study import locked, state_of, states

CHECKPOINT = f"00000004-{'0' * 64}.ckpt"


def make(study: Path, name: str, **record: object) -> Path:
    run = study / name
    (run / "checkpoints").mkdir(parents=True)
    (run / "checkpoints" / CHECKPOINT).touch()
    (run / "record.json").write_text(json.dumps({"steps": 9, **record}))
    return run


def test_each_state(tmp_path: Path) -> None:
    make(tmp_path, "a", status="finished")
    make(tmp_path, "b", status="stopped", reason="stopped by SIGUSR1 after step 4 of 9")
    make(tmp_path, "c", status="failed", reason="case_3: the loss is nan")
    make(tmp_path, "d", status="training")
    found = {state.id: state for state in states(tmp_path)}
    assert {name: state.state for name, state in found.items()} == {
        "a": "done", "b": "stopped", "c": "failed", "d": "lost"
    }  # fmt: skip
    assert found["b"].note == "stopped by SIGUSR1 after step 4 of 9"
    assert (found["d"].step, found["d"].steps) == (4, 9)
    assert main(["status", str(tmp_path)]) == 1


def test_all_done_is_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path, "a", status="finished")
    assert main(["status", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "1 done"
    assert main(["status", str(tmp_path / "nothing")]) == 2


def test_a_process_at_work_is_seen_and_not_disturbed(tmp_path: Path) -> None:
    run = make(tmp_path, "a", status="training")
    hold = (
        "import fcntl, os, sys; handle = os.open(sys.argv[1], os.O_CREAT | os.O_RDWR);"
        "fcntl.flock(handle, fcntl.LOCK_EX); print('held', flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", hold, str(run / ".lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.readline()
    assert states(tmp_path)[0].state == "running"
    process.communicate()
    assert states(tmp_path)[0].state == "lost"
    handle = os.open(run / ".lock", os.O_RDWR)
    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(handle)
    assert not locked(run)


def test_the_queue_of_slurm_and_logs_are_looked_at(tmp_path: Path) -> None:
    make(tmp_path, "a", status="stopped", reason="stopped by SIGUSR2")
    places = {"12_0": Place("PENDING", "BeginTime"), "12_1": Place("RUNNING", "")}
    assert state_of(tmp_path, "a", "", "12_0", places).state == "queued"
    assert state_of(tmp_path, "a", "", "12_1", places).state == "running"
    assert state_of(tmp_path, "a", "", "12_2", places).state == "stopped"
    assert state_of(tmp_path, "z", "", None, places).state == "new"
    log = tmp_path / ".sweep" / "slurm" / "12_2_0_log.err"
    log.parent.mkdir(parents=True)
    log.write_text("a line\nslurmstepd: error: Detected 1 oom_kill event\nsrun: Terminating\n\n")
    lost = state_of(tmp_path, "z", "", "12_2", places)
    assert (lost.state, lost.note) == (
        "lost", "ended without a word; its log ends: slurmstepd: error: Detected 1 oom_kill event"
    )  # fmt: skip


def test_a_broken_record_is_told(tmp_path: Path) -> None:
    run = make(tmp_path, "a", status="training")
    (run / "record.json").write_text("{")
    assert states(tmp_path)[0].state == "failed"
