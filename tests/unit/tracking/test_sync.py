"""Sending offline runs: which, and what is said where it cannot be done."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.cli import main
from medseg.tracking.sync import offline_runs


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two runs of W&B, one of which was sent."""
    for run, stamp in (("a", "20260101_000000"), ("b", "20260102_000000")):
        folder = tmp_path / "study" / run / "wandb" / f"offline-run-{stamp}-{run}"
        folder.mkdir(parents=True)
        (folder / f"run-{run}.wandb").write_bytes(b"")
    (tmp_path / "study" / "a" / "wandb" / "offline-run-20260101_000000-a" / "run-a.wandb.synced").touch()
    return tmp_path / "study"


def sync(folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")}
    return subprocess.run(
        [sys.executable, "-m", "medseg.cli", "sync", str(folder)],
        env=clean | {"HOME": str(folder), "NETRC": str(folder / "none")} | environment,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


@pytest.mark.parametrize("level", [".", "a", "../study"])
def test_offline_runs_are_found_at_every_level(study: Path, level: str) -> None:
    found = offline_runs([study / level])
    assert [run.sent for run in found] == ([True] if level == "a" else [True, False])


def test_a_run_without_a_log_was_never_begun(study: Path) -> None:
    next(study.glob("b/wandb/*/*.wandb")).unlink()
    assert [run.sent for run in offline_runs([study])] == [True]


def test_what_was_sent_is_left_alone(study: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", str(study / "a")]) == 0
    assert capsys.readouterr().out == "0 runs sent, 1 sent before\n"


def test_nothing_to_send(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sync", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "there is no offline run of W&B here\n"
    assert main(["sync", str(tmp_path / "gone")]) == 2
    assert "is not there" in capsys.readouterr().err
    assert main(["sync"]) == 2


def test_not_logged_in_is_one_line(study: Path) -> None:
    done = sync(study)
    assert done.returncode == 2
    assert done.stderr == "wandb: nobody is logged in here; run `wandb login`, or set WANDB_API_KEY\n"


def test_no_server_is_one_line(study: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    done = sync(study, WANDB_API_KEY="0123456789" * 4, WANDB_BASE_URL=address)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("wandb: 127.0.0.1 cannot be reached; ")
