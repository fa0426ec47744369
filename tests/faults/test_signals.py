"""A signal of a scheduler at any step: the run stops with a checkpoint, and goes on to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from medseg.cli import main
from smoke.running import numbers, same, weights

from .stopping import STOPPED, record_of, train

LISTENING = """
import signal, sys
from medseg.cli import main

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main(sys.argv[1:]))
"""
"""The command line where Ctrl-C counts, which the background jobs of a shell are told to ignore."""


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_run_stopped_after_each_of_its_steps_ends_in_the_same_bits(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    command = [*command, f"training.accumulate={accumulate}"]
    assert train(command, monkeypatch, "whole") == 0
    whole = tmp_path / "runs" / "balls" / "whole"
    capsys.readouterr()
    steps = (1, 3, 5) if accumulate == 1 else (4,)  # within an epoch, at its end, within the last one
    for step in steps:
        run = whole.parent / f"at{step}"
        name = ("SIGUSR1", "SIGUSR2", "SIGTERM")[step % 3]
        assert train(command, monkeypatch, run.name, f"{(step - 1) * accumulate + 1}:{name}") == STOPPED
        told = capsys.readouterr().err
        assert f"stopped by {name} after step {step} of 6; the same command goes on from there" in told
        record = record_of(run)
        assert record["status"] == "stopped"
        assert record["reason"] == f"stopped by {name} after step {step} of 6"
        assert max(path.name for path in (run / "checkpoints").iterdir())[:8] == f"{step:08d}"
        assert train(command, monkeypatch, run.name) == 0
        assert same(weights(run), weights(whole))
        assert numbers(run) == numbers(whole)
        assert record_of(run)["status"] == "finished"
        assert (run / "cases.csv").read_bytes() == (whole / "cases.csv").read_bytes()


def test_a_run_stopped_at_every_step_gets_to_its_end(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after the last one, when nothing but the report is missing."""
    assert train(command, monkeypatch, "whole") == 0
    for _ in range(6):
        assert train(command, monkeypatch, "often", "1:SIGUSR1") == STOPPED
    assert train(command, monkeypatch, "often") == 0
    whole, often = (tmp_path / "runs" / "balls" / name for name in ("whole", "often"))
    assert same(weights(often), weights(whole))
    assert numbers(often) == numbers(whole)


def test_a_second_sigterm_stops_at_once(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step that it comes in is not ended, so no checkpoint of it is written."""
    assert train(command, monkeypatch, "twice", "2:SIGUSR2 2:SIGTERM") == STOPPED
    run = tmp_path / "runs" / "balls" / "twice"
    assert not (run / "checkpoints").exists()
    assert record_of(run)["status"] == "stopped"


def test_handlers_are_given_back(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)]
    assert train(command, monkeypatch, "back", "1:SIGTERM") == STOPPED
    after = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)]
    assert after == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_nothing_is_trained_work_ends_at_once(
    words: list[str], tmp_path: Path, number: signal.Signals
) -> None:
    """The signal comes as soon as the record is there; then the cohort is checked and preprocessed."""
    command = [*words, "id=early", f"data.cache={tmp_path / 'cache'}"]
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENING, *command],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={name: value for name, value in os.environ.items() if not name.startswith("SLURM")},
    )  # fmt: skip
    run = tmp_path / "runs" / "balls" / "early"
    deadline = time.monotonic() + 600
    while not (run / "config.yaml").exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    _, told = process.communicate(timeout=600)
    assert process.returncode == (130 if number == signal.SIGINT else STOPPED)
    assert "Traceback" not in told
    assert record_of(run)["status"] == "stopped"
    assert main(command) == 0


def test_two_ranks_stop_after_the_same_step(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that has started them is signalled in the middle, and they go on to the same bits."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    command = [*command, "training.devices=2", "training.steps=24", "training.epoch_steps=9"]
    assert main([*command, "id=whole"]) == 0
    whole, stopped = (tmp_path / "runs" / "balls" / name for name in ("whole", "stopped"))
    words = [sys.executable, "-m", "medseg.cli", *command, "id=stopped"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not list((stopped / "checkpoints").glob("*.ckpt")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGUSR1)
    _, told = process.communicate(timeout=300)
    assert process.returncode == STOPPED, told
    assert record_of(stopped)["status"] == "stopped"
    assert "Traceback" not in told
    assert main([*command, "id=stopped"]) == 0
    assert same(weights(stopped), weights(whole))
