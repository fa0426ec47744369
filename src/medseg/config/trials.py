"""One batch of each shape that a sweep has, each in a process of its own."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medseg.config.check import bind
from medseg.config.freeze import frozen
from medseg.config.jobs import Job, load
from medseg.config.launchers.here import last_line
from medseg.config.launchers.settings import Launcher, SlurmLauncher
from medseg.errors import Problems, UserError
from medseg.files import value_hash, write_json
from medseg.targets import allow
from medseg.training.estimate import Estimate

SHAPING = ("data", "plan", "network", "fusion", "loss", "objective", "optimizer", "finetuning")
"""The parts of a configuration that decide the shape of a step. Folds and seeds are of one shape."""
_OF_TRAINING = ("accumulate", "unlabelled_batch_size", "precision", "accelerator", "devices", "num_nodes")
_MINUTES = 10


def shape_of(job: Job) -> str:
    """The same for jobs whose steps cost the same."""
    training = job.config["training"]
    parts = {name: job.config.get(name) for name in SHAPING}
    return value_hash([parts, [training.get(name) for name in _OF_TRAINING]])


def run_trials(jobs: Iterable[Job], launcher: Launcher) -> dict[str, Estimate]:
    """Shape -> estimate. On SLURM each runs as a step of the launcher's partition, where the jobs will run.

    Raises:
        Problems: the shapes of which not even one batch can be trained, one line each.
    """
    first: dict[str, Job] = {}
    for job in jobs:
        first.setdefault(shape_of(job), job)
    found: dict[str, Estimate] = {}
    problems = []
    # Beside the runs, as the nodes of a cluster share that place and not /tmp.
    home = next((job.study for job in first.values()), Path())
    with _folder_in(home) as name:
        for number, (shape, job) in enumerate(first.items()):
            print(f"trying {job.name} ({number + 1} of {len(first)})", file=sys.stderr, flush=True)
            try:
                found[shape] = _one(job, Path(name), launcher)
            except UserError as error:
                problems.append(f"{error} (in {job.name})")
    if problems:
        raise Problems(problems)
    return found


@contextlib.contextmanager
def _folder_in(home: Path) -> Iterator[str]:
    """A temporary folder there; afterwards nothing is left of it, nor of what was made for it."""
    made = [folder for folder in (home, *home.parents) if not folder.exists()]
    home.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix=".trial-", dir=home) as name:
            yield name
    finally:
        with contextlib.suppress(OSError):  # somebody else has put something there
            for folder in made:
                folder.rmdir()


def _one(job: Job, folder: Path, launcher: Launcher) -> Estimate:
    file = folder / f"{job.id}.yaml"
    job.save(file)
    log, answer = file.with_suffix(".log"), file.with_suffix(".json")
    words = [*_prefix(launcher), sys.executable, "-m", "medseg.config.trials", str(file)]
    with log.open("wb") as target:
        done = subprocess.run(
            words,
            stdout=target,
            stderr=subprocess.STDOUT,
            check=False,
            cwd=job.folder,
        )
    if answer.exists():
        values = json.loads(answer.read_text(encoding="utf-8"))
        return Estimate(**values | {"patch": tuple(values["patch"])})
    if done.returncode in (-9, 137):
        raise UserError("preflight", "one batch does not fit into the memory of this machine", "plan less")
    raise UserError("preflight", last_line(log) or f"the trial ended with code {done.returncode}")


def _prefix(launcher: Launcher) -> Sequence[str]:
    if not isinstance(launcher, SlurmLauncher):
        return ()
    named = ("partition", "account", "qos", "constraint", "exclude")
    given = {name: getattr(launcher, name) for name in named}
    return [
        "srun", "--quiet", "--nodes=1", "--ntasks=1", f"--time={_MINUTES}", "--job-name=medseg-trial",
        f"--cpus-per-task={launcher.cpus}", f"--mem={round(launcher.memory_gb * 1024)}M",
        *([f"--gpus-per-node={launcher.gpus}"] if launcher.gpus else []),
        *(f"--{name}={value}" for name, value in given.items() if value is not None),
    ]  # fmt: skip


def main() -> int:
    """``python -m medseg.config.trials FILE``: one trial; the estimate is written beside the job."""
    file = Path(sys.argv[1])
    job = load(file)
    for package in job.allowed:
        allow(package)
    from medseg.training.recipe import Recipe
    from medseg.training.trial import estimate

    config: Mapping[str, Any] = job.config
    try:
        found = estimate(Recipe(**bind(job.verb, config), config=frozen(config)), file.parent)
    except UserError as error:
        print(error)
        return error.code
    write_json(file.with_suffix(".json"), asdict(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
