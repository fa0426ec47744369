"""A real SLURM of two nodes on this machine, and the small cohort of the smoke tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from smoke.conftest import balls, cache, words  # noqa: F401

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
PACKAGES = ("slurmctld", "slurmd", "slurm-client", "munge")


def install() -> str:
    """Puts Debian's packages in place where they are missing; why that cannot be, or nothing."""
    if all(shutil.which(program) for program in PROGRAMS):
        return "" if os.geteuid() == 0 else "the test cluster must be started by root"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"SLURM is not installed and this is not root on Debian ({', '.join(PACKAGES)})"
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "--no-install-recommends", *PACKAGES]):
        command = ["apt-get", "--quiet", "--yes", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        if done.returncode:
            return f"apt-get {arguments[0]} failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    return ""


class Slurm:
    """The test cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        scripts = ROOT / "slurm" / "test-cluster"
        environment = os.environ | {"SLURM_TEST_CORES": "2"}
        subprocess.run([scripts / "start.sh", folder], check=True, stdout=subprocess.DEVNULL, env=environment)
        self._stop = scripts / "stop.sh"
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            # The nodes are names of this machine that nothing but SLURM knows.
            "MASTER_ADDR": "127.0.0.1",
            "GLOO_SOCKET_IFNAME": "lo",
            "OMP_NUM_THREADS": "1",
            "MEDSEG": str(Path(sys.executable).with_name("medseg")),
        }

    def stop(self) -> None:
        subprocess.run([self._stop, self.folder], check=False)

    def ask(self, *command: str) -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env=os.environ | self.environment
        )
        return done.stdout + done.stderr

    def queue(self) -> dict[str, str]:
        """Id -> state of what waits or runs."""
        lines = self.ask("squeue", "--noheader", "--array", "--format=%i %T").splitlines()
        return dict(line.split() for line in lines if line.strip())

    def wait(self, seconds: float = 600) -> int:
        """Until the queue is empty; a job that was queued again need not wait. How often there was one."""
        deadline, again = time.monotonic() + seconds, set[tuple[str, str]]()
        while queue := self.queue():
            assert time.monotonic() < deadline, (
                f"still there: {queue}\n{self.ask('scontrol', 'show', 'jobs')}"
            )
            for job, state in queue.items():
                if state == "PENDING" and (count := self.restarts(job)) != "0":
                    again.add((job, count))
                    self.ask("scontrol", "update", f"jobid={job}", "StartTime=now")
            time.sleep(0.5)
        return len(again)

    def restarts(self, job: str) -> str:
        shown = self.ask("scontrol", "show", "job", "--oneliner", job).split()
        return next((word.split("=")[1] for word in shown if word.startswith("Restarts=")), "0")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Runs for the whole session."""
    if reason := install():
        pytest.skip(reason)
    started = Slurm(tmp_path_factory.mktemp("slurm"))
    yield started
    started.stop()


@pytest.fixture
def slurm(cluster: Slurm, monkeypatch: pytest.MonkeyPatch) -> Slurm:
    """The cluster, for this process and what it starts."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    return cluster


@pytest.fixture
def small(words: list[str]) -> list[str]:  # noqa: F811
    """The smoke tests' training, with the cheapest validation."""
    kept = [word for word in words if not word.startswith("training.validation_patches")]
    return [
        *kept[1:], "training.validation_patches=0", "training.threads=1", "evaluation.metrics=[surface_dice]",
        "evaluation.bootstrap=20",
    ]  # fmt: skip


SIGNALLING_LOSS = """
import os, signal, time

from medseg.losses.dice_ce import DiceCE

calls = 0


class Signalling(DiceCE):
    def compare(self, target):
        global calls
        calls += 1
        time.sleep(float(os.environ.get("SLOWLY", "0")))
        orders = os.environ.get("SIGNALS_AT", "").split("|")
        restart = int(os.environ.get("SLURM_RESTART_COUNT", "0"))
        if restart < len(orders) and orders[restart]:
            call, name = orders[restart].split(":")
            if calls == int(call):
                os.kill(os.getpid(), getattr(signal, name))
        return super().compare(target)
"""


@pytest.fixture
def signalling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A loss that signals its process at the calls of SIGNALS_AT, one for each start, and may be slow."""
    (tmp_path / "signalling.py").write_text(SIGNALLING_LOSS)
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("MEDSEG_ALLOW", "signalling")
    return ["loss._target_=signalling.Signalling", "objective.deep_supervision=false"]
