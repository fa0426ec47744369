"""Many runs from one command: every job is checked and frozen first, then a launcher runs them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from medseg.config.compose import no_environment, search_path
from medseg.config.hydra_node import hydra_problems
from medseg.config.jobs import Job, jobs_of
from medseg.config.launchers.here import run_at_once, run_in_turn
from medseg.config.launchers.settings import JoblibLauncher, Launcher, SlurmLauncher
from medseg.config.overrides import read_overrides
from medseg.config.preflight import check_jobs, expand, ready
from medseg.config.rank_rules import refuse_sweep_of_ranks
from medseg.config.run import text_of
from medseg.config.search_settings import SearchSettings
from medseg.config.study import BUSY, jobs_of_study, states
from medseg.config.sweep_words import SweepWords, launcher_of, read_words, search_of
from medseg.errors import Problems, UserError


def sweep(verb: str, given: Sequence[str], config_dirs: Sequence[Path], *, show: bool = False) -> int:
    """Checks every job of the sweep, then runs them all.

    Raises:
        Problems: any job's configuration is wrong; no job was started.
        UserError: nobody said yes, or this is one of several ranks.
    """
    refuse_sweep_of_ranks()
    words = read_words(given)
    launcher, search = choices(verb, words, config_dirs)
    if search is not None:
        from medseg.config.search import run_search

        return run_search(verb, words, config_dirs, search, launcher)
    composed = check_jobs(verb, words.jobs, config_dirs)
    print(f"{len(composed)} jobs, all checked", file=sys.stderr)
    if show:
        print("---\n".join(text_of(job.config) for job in composed), end="")
        return 0
    jobs: Sequence[Job] = jobs_of(composed, config_dirs)
    if verb == "train":
        jobs = ready(jobs, words, launcher)
    return answer_of(launch(jobs, launcher))


def resume(given: Sequence[str], config_dirs: Sequence[Path]) -> int:
    """Runs what is not done of a study's sweeps, from the frozen jobs.

    Raises:
        UserError: there is no such study, a job was edited, or nobody said yes.
    """
    words = read_words(given)
    if words.jobs:
        raise UserError("resume", f"{words.jobs[0]} would change the jobs", "give a new sweep instead")
    study = Path(str(words.resume))
    found = states(study)
    launcher, _ = choices("train", words, config_dirs)
    jobs = jobs_of_study(study)
    alone = len([state for state in found if state.state not in BUSY]) - len(
        [state for state in found if state.state not in BUSY and state.id in {job.id for job in jobs}]
    )
    if alone:
        print(f"{alone} runs were started alone: their own command goes on with them", file=sys.stderr)
    if not jobs:
        raise UserError(str(study), "has no sweep", "its runs go on by their own commands")
    return answer_of(launch(ready(jobs, words, launcher), launcher))


def choices(
    verb: str, words: SweepWords, config_dirs: Sequence[Path]
) -> tuple[Launcher, SearchSettings | None]:
    """The launcher and, where one is chosen, the search; from the command line, or from an experiment.

    Raises:
        Problems: what is wrong with them.
    """
    checked = read_overrides(verb, words.hydra, tuple(config_dirs))
    if checked.problems:
        raise Problems(sorted(checked.problems))
    # Forced, so that a misspelt key is told with the nearest one and not by Hydra's structure.
    lines = [
        f"++{word.lstrip('+')}" if word.lstrip("+").startswith("hydra.") else word for word in words.hydra
    ]
    jobs = read_overrides(verb, words.jobs, tuple(config_dirs), sweep=True)
    first = [word for word in _first(jobs.lines, config_dirs) if word.partition("=")[0] == "experiment"]
    with no_environment():
        loader = ConfigLoaderImpl(search_path(config_dirs))
        try:
            node = loader.load_configuration(verb, [*first, *lines], RunMode.RUN)
        except (HydraException, OmegaConfBaseException) as error:
            told = next((line.strip() for line in str(error).splitlines() if line.strip()), "")
            fix = "choose hydra/launcher=local, joblib or slurm, hydra/sweeper=basic or optuna"
            raise UserError("hydra", told, fix) from None
    if problems := hydra_problems(node):
        raise Problems(problems)
    return launcher_of(_plain(node.hydra.launcher)), search_of(_plain(node.hydra.sweeper))


def _first(lines: Sequence[str], config_dirs: Sequence[Path]) -> Sequence[str]:
    try:
        return expand(lines, config_dirs)[0]
    except (UserError, IndexError):  # a space to search is no grid
        return lines


def _plain(node: Any) -> Any:
    return OmegaConf.to_container(node, resolve=False)


def launch(jobs: Sequence[Job], launcher: Launcher) -> list[int | str]:
    """Runs the jobs, or hands them to SLURM; what they have answered, as far as that is known."""
    if not jobs:
        return []
    if isinstance(launcher, JoblibLauncher):
        return run_at_once(jobs, launcher)
    if not isinstance(launcher, SlurmLauncher):
        return run_in_turn(jobs)
    from medseg.config.launchers.slurm import submit, wait_for

    numbers = submit(jobs, launcher)
    for name, number in numbers.items():
        print(f"submitted {number}: {name}")
    studies = dict.fromkeys(job.study for job in jobs if job.verb == "train")
    if not launcher.wait:
        for study in studies:
            print(f"see medseg status {study}")
        return []
    wait_for([*numbers.values()])
    ended = {state.id: state for study in studies for state in states(study)}
    return [
        0 if ended[job.id].state == "done" else f"job {job.name}: {ended[job.id].state}: {ended[job.id].note}"
        for job in jobs
        if job.verb == "train"
    ]


def answer_of(answers: Sequence[int | str]) -> int:
    """The exit code of all jobs.

    Raises:
        Problems: those that failed, one line or several each.
    """
    failed = [answer for answer in answers if isinstance(answer, str)]
    if failed:
        raise Problems(failed)
    return max((answer for answer in answers if isinstance(answer, int)), default=0)
