"""What the machine may refuse: one line, nothing half written, and the same command goes on afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from smoke.running import same, weights

from .conftest import Forks
from .test_kill_loop import arrays, last_step

Mount = Callable[[str], Path]


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mount]:
    """Mounts a small file system of its own, or changes its options."""
    folder = tmp_path / "mounted"
    folder.mkdir()

    def mount(options: str) -> Path:
        remount = "remount," if os.path.ismount(folder) else ""
        command = ["mount", "-t", "tmpfs", "-o", remount + options, "tmpfs", str(folder)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", "-l", str(folder)], check=True)


class Told:
    """What a command says, from here on."""

    def __init__(self, forks: Forks) -> None:
        self.forks, self.start = forks, forks.log.stat().st_size if forks.log.exists() else 0

    @property
    def text(self) -> str:
        with self.forks.log.open("rb") as source:
            source.seek(self.start)
            return source.read().decode()

    def refused(self, code: int, *words: str) -> None:
        assert code == 2, self.text[-3000:]
        assert "Traceback" not in self.text
        for word in words:
            assert word in self.text


def replaced(words: list[str], **values: object) -> list[str]:
    """The words with other values of some keys."""
    kept = [word for word in words if word.partition("=")[0] not in values]
    return [*kept, *(f"{key}={value}" for key, value in values.items())]


def test_training_onto_a_full_disk(forks: Forks, words: list[str], tmp_path: Path, mounted: Mount) -> None:
    whole = tmp_path / "runs" / "balls" / "one"
    assert forks.run([*words, "id=one"]) == 0
    largest = max(path.stat().st_size for path in (whole / "checkpoints").iterdir())
    folder = mounted(f"size={largest + largest // 2}")
    command = [*replaced(words, runs=folder), "id=one"]
    told = Told(forks)
    told.refused(forks.run(command), "the disk is full", "run the same command again")
    run = folder / "balls" / "one"
    assert last_step(run) == 2, "the first checkpoint is whole, the second did not fit"
    assert not [path for path in run.rglob("*") if path.name.startswith(".tmp-")]
    mounted("size=64m")
    assert forks.run(command) == 0, told.text[-2000:]
    assert same(weights(run), weights(whole))


def test_preprocessing_onto_a_full_disk(forks: Forks, balls: Path, tmp_path: Path, mounted: Mount) -> None:
    def command(cache: Path) -> list[str]:
        return ["preprocess", "data=folder", f"data.root={balls}", f"data.cache={cache}"]

    assert forks.run(command(tmp_path / "whole")) == 0
    expected = arrays(tmp_path / "whole")
    folder = mounted("size=200k")
    told = Told(forks)
    told.refused(forks.run(command(folder)), "the disk is full")
    mounted("size=64m")
    assert forks.run(command(folder)) == 0, told.text[-2000:]
    assert arrays(folder) == expected


def test_predictions_onto_a_full_disk(
    forks: Forks, words: list[str], balls: Path, tmp_path: Path, mounted: Mount
) -> None:
    assert forks.run([*words, "id=model", "training.steps=2"]) == 0
    folder = mounted("size=16k")
    command = ["predict", f"model={tmp_path / 'runs/balls/model'}", f"input={balls / 'imagesTr'}"]
    told = Told(forks)
    told.refused(forks.run([*command, f"output={folder}"]), "case_")
    mounted("size=16m")
    assert forks.run([*command, f"output={folder}"]) == 0, told.text[-2000:]
    assert forks.run([*command, f"output={tmp_path / 'whole'}"]) == 0
    whole = {path.name: path.read_bytes() for path in (tmp_path / "whole").glob("*.nii.gz")}
    assert {path.name: path.read_bytes() for path in folder.glob("*.nii.gz")} == whole
    assert len(whole) == 12


def test_a_read_only_folder(forks: Forks, words: list[str], mounted: Mount) -> None:
    folder = mounted("size=1m,ro")
    told = Told(forks)
    told.refused(forks.run([*replaced(words, runs=folder), "id=one"]), str(folder), "read-only")


def test_memory_that_runs_out_names_the_cases(forks: Forks, words: list[str], tmp_path: Path) -> None:
    large = replaced(words, **{"plan.patch_size": "[128,128,128]", "plan.batch_size": 8, "plan.width": 32})
    told = Told(forks)
    code = forks.run([*large, "id=large", "training.validation_patches=0"], MEMORY=str(3 << 30))
    told.refused(code, "memory", "plan.batch_size", "case_")
    assert last_step(tmp_path / "runs" / "balls" / "large") == 0


def test_a_worker_that_is_killed_costs_nothing(forks: Forks, balls: Path, tmp_path: Path) -> None:
    """The cases that it held are done again, one by one."""

    def command(cache: Path) -> list[str]:
        return ["preprocess", "data=folder", f"data.root={balls}", f"data.cache={cache}", "workers=2"]

    assert forks.run(command(tmp_path / "whole")) == 0
    told = Told(forks)
    process = forks.start(command(tmp_path / "killed"))
    killed, deadline = 0, time.monotonic() + 120
    while not killed and forks.runs(process) and time.monotonic() < deadline:
        for child in psutil.Process(process).children():
            if any("popen_loky" in word for word in child.cmdline()):
                child.send_signal(signal.SIGKILL)
                killed += 1
                break
        time.sleep(0.01)
    assert killed == 1, "there was a worker to kill"
    assert forks.wait(process) == 0, told.text[-3000:]
    assert "Traceback" not in told.text
    assert arrays(tmp_path / "killed") == arrays(tmp_path / "whole")


def test_a_tracker_that_cannot_be_reached(forks: Forks, words: list[str], tmp_path: Path) -> None:
    """The run goes on; what it would have sent is kept for `medseg sync`."""
    command = [word for word in words if not word.startswith("tracking=")]
    told = Told(forks)
    code = forks.run(
        [*command, "id=far", "tracking.wandb=online", "training.steps=2"],
        WANDB_BASE_URL="http://127.0.0.1:9",
        WANDB_API_KEY="0" * 40,
    )
    assert code == 0, told.text[-3000:]
    assert "cannot be reached" in told.text
    assert "Traceback" not in told.text
    run = tmp_path / "runs" / "balls" / "far"
    assert len(list(run.glob("wandb/offline-run-*"))) == 2, "the training and its scores"
    assert (run / "report.html").exists()
