"""A job of a sweep, frozen: it runs as it was checked, whatever happens to the configuration files later.

runs/STUDY/.sweep/ID.yaml     the job
runs/STUDY/.sweep/ID.log      what it says, where it has a process of its own
runs/STUDY/.sweep/slurm/      the files of submitit
runs/STUDY/.sweep/ID.slurm    the id of its SLURM job
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medseg.config.check import config_problems
from medseg.config.compose import Composed
from medseg.config.freeze import config_hash, frozen
from medseg.config.run import call
from medseg.config.yaml_guard import check_yaml
from medseg.errors import UserError
from medseg.files import write_text
from medseg.targets import admitted, allow

SWEEP = ".sweep"
_HEADER = "# A job of a sweep as it was checked; `medseg train resume=STUDY` runs it from here.\n"


@dataclass(frozen=True)
class Job:
    """One configuration of a verb.

    Attributes:
        verb: what it runs.
        config: plain data.
        overrides: what was given for it on the command line.
        varied: those that tell it from the other jobs.
        config_dirs: the folders of ``--config-dir``, absolute.
        allowed: the packages that were admitted.
        folder: where the command was given; relative paths are meant from there.
    """

    verb: str
    config: Mapping[str, Any]
    overrides: tuple[str, ...]
    varied: tuple[str, ...]
    config_dirs: tuple[str, ...]
    allowed: tuple[str, ...]
    folder: str

    @property
    def name(self) -> str:
        """What tells it from the others, or its verb."""
        return " ".join(self.varied) or self.verb

    @property
    def id(self) -> str:
        """Of a training: the run's."""
        from medseg.training.recipe import id_of

        return str(self.config.get("id") or id_of(frozen(self.config)))

    @property
    def study(self) -> Path:
        """Of a training: the folder above the run's."""
        return Path(self.folder, str(self.config["runs"]), str(self.config["name"]))

    @property
    def run(self) -> Path:
        """Of a training: the run's folder."""
        return self.study / self.id

    @property
    def file(self) -> Path:
        """Of a training: where the job is kept."""
        return self.study / SWEEP / f"{self.id}.yaml"

    def save(self, file: Path | None = None) -> None:
        """Writes it, unless it is there; a training knows where."""
        import yaml

        content = {
            "verb": self.verb,
            "hash": config_hash(self.config),
            "folder": self.folder,
            "overrides": list(self.overrides),
            "varied": list(self.varied),
            "config_dirs": list(self.config_dirs),
            "allowed": list(self.allowed),
            "config": frozen(self.config),
        }
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
        target = file or self.file
        if not target.exists() or target.read_text(encoding="utf-8") != _HEADER + text:
            write_text(target, _HEADER + text)


def jobs_of(composed: Sequence[Composed], config_dirs: Iterable[Path]) -> list[Job]:
    """The jobs of checked configurations, in their order."""
    common = set(composed[0].overrides).intersection(*(each.overrides for each in composed[1:]))
    return [
        Job(
            each.verb,
            frozen(each.config),
            each.overrides,
            tuple(word for word in each.overrides if word not in common),
            tuple(str(folder.resolve()) for folder in config_dirs),
            tuple(sorted(admitted())),
            os.getcwd(),
        )
        for each in composed
    ]


def load(file: Path) -> Job:
    """Reads a job.

    Raises:
        UserError: it is not what was checked.
    """
    import yaml

    check_yaml(file)
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    texts = ("overrides", "varied", "config_dirs", "allowed")
    try:
        sound = config_hash(content["config"]) == content["hash"]
        lists = {name: tuple(str(word) for word in content[name]) for name in texts}
        job = Job(str(content["verb"]), content["config"], folder=str(content["folder"]), **lists)
    except (KeyError, TypeError, AttributeError):
        sound = False
    if not sound:
        raise UserError(str(file), "is not the job that was checked", "give the sweep's command again")
    return job


def run_job(job: Job) -> int | str:
    """Runs it here; its exit code, or what was wrong in one text.

    Raises:
        SystemExit: it was asked to stop and can go on.
    """
    for package in job.allowed:
        allow(package)
    try:
        with _inside(Path(job.folder)):
            lines = config_problems(job.verb, job.config)
            composed = Composed(job.verb, dict(job.config), job.overrides, tuple(lines)).checked()
            return call(composed, [Path(folder) for folder in job.config_dirs])
    except UserError as error:
        if job.verb == "train" and getattr(error, "code", 2) == _AGAIN:
            print(error, file=sys.stderr, flush=True)
            raise SystemExit(_AGAIN) from None
        return f"job {job.name}: {error}"


_AGAIN = 75


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[None]:
    """In the folder that the job's relative paths are meant from."""
    before = Path.cwd()
    if folder == before:
        yield
        return
    if not folder.is_dir():
        raise UserError(str(folder), "is where the sweep was begun, and is gone", "give its command again")
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def main() -> int:
    """``python -m medseg.config.jobs FILE``: runs one job in a process of its own."""
    answer = run_job(load(Path(sys.argv[1])))
    if isinstance(answer, str):
        print(answer, file=sys.stderr)
        return 2
    return answer


if __name__ == "__main__":
    sys.exit(main())
