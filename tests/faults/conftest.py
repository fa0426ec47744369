"""Processes to kill, and the small cohort of the smoke tests."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoke.conftest import balls, cache, words  # noqa: F401

from .stopping import SIGNALLING_LOSS


class Forks:
    """`medseg` in forked processes, see `fork_server.py`."""

    def __init__(self, log: Path) -> None:
        self.log = log
        script = Path(__file__).with_name("fork_server.py")
        self._server = subprocess.Popen(
            [sys.executable, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )

    def _ask(self, order: dict[str, object]) -> int:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        print(json.dumps(order), file=self._server.stdin, flush=True)
        return int(self._server.stdout.readline())

    def start(self, command: list[str], **environment: str) -> int:
        """The process id."""
        return self._ask({"words": command, "log": str(self.log), "environment": environment})

    def runs(self, process: int) -> bool:
        """Whether it has not ended yet."""
        return bool(self._ask({"poll": process}))

    def wait(self, process: int) -> int:
        """The exit code, negative for a signal."""
        return self._ask({"wait": process})

    def run(self, command: list[str], **environment: str) -> int:
        """The exit code."""
        return self.wait(self.start(command, **environment))

    def kill(self, process: int) -> int:
        """SIGKILL to the process and what it started; the exit code, which may be that of an earlier end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
        return self.wait(process)

    def close(self) -> None:
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()


@pytest.fixture(scope="session")
def forks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    """One server for all tests of the session."""
    server = Forks(tmp_path_factory.mktemp("forks") / "log.txt")
    yield server
    server.close()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A TMPDIR on another file system than the runs', where this machine has one."""
    import shutil
    import tempfile

    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        yield {}
        return
    folder = tempfile.mkdtemp(dir=memory)
    yield {"TMPDIR": folder}
    shutil.rmtree(folder)


@pytest.fixture
def command(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: F811
    """A training of 6 steps, 3 to an epoch, in this process, without deep supervision: a call per step."""
    (tmp_path / "signalling.py").write_text(SIGNALLING_LOSS)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MEDSEG_ALLOW", "signalling")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    kept = [word for word in words if not word.startswith(("training.epoch_steps", "training.validation_p"))]
    return [
        *kept, "training.epoch_steps=3", "training.validation_patches=0", "training.threads=1",
        "objective.deep_supervision=false", "loss._target_=signalling.Signalling",
        "evaluation.metrics=[surface_dice]", "evaluation.bootstrap=20",
    ]  # fmt: skip
