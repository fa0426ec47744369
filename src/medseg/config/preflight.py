"""Before the first job of a sweep: all are checked, frozen and estimated, what is done is left out."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from rich.console import Console
from rich.table import Table

from medseg.config.compose import Composed, compose, no_environment, search_path
from medseg.config.jobs import Job
from medseg.config.launchers.settings import Launcher
from medseg.config.overrides import read_overrides
from medseg.config.study import BUSY, NEW, RunState, states
from medseg.config.sweep_words import SweepWords
from medseg.config.trials import run_trials, shape_of
from medseg.errors import Problems, UserError
from medseg.training.estimate import Estimate


def check_jobs(verb: str, given: Sequence[str], config_dirs: Sequence[Path] = ()) -> list[Composed]:
    """Every job of the sweep, composed and checked.

    Raises:
        Problems: a line for each problem, with the overrides of the jobs that have it.
    """
    overrides = read_overrides(verb, given, tuple(config_dirs), sweep=True)
    jobs = [compose(verb, line, config_dirs) for line in expand(overrides.lines, config_dirs)]
    refuse_problems(verb, jobs, overrides.problems)
    return jobs


def refuse_problems(verb: str, jobs: Sequence[Composed], others: Sequence[str] = ()) -> None:
    """Tells everything wrong with any of the jobs at once.

    Raises:
        Problems: a line for each problem, with the overrides of the jobs that have it.
    """
    owners: dict[str, list[str]] = {}
    for composed in jobs:
        for line in composed.problems:
            owners.setdefault(line, []).append(" ".join(varied(composed.overrides, jobs)))
    for folder, names in _shared_folders(verb, jobs).items():
        owners[f"id: {len(names)} jobs would share the run {folder}; leave id out"] = names
    everywhere = [line for line, names in owners.items() if len(names) == len(jobs)]
    some = [f"{line} (in {'; '.join(n)})" for line, n in owners.items() if line not in everywhere]
    if found := {*others, *everywhere, *some}:
        raise Problems(sorted(found))


def expand(lines: Sequence[str], config_dirs: Sequence[Path] = ()) -> list[list[str]]:
    """The overrides of each job, by the rules of Hydra's own sweeper."""
    with no_environment():
        loader = ConfigLoaderImpl(search_path(config_dirs))
    parsed = OverridesParser.create(config_loader=loader).parse_overrides(list(lines))
    try:
        batches = BasicSweeper.split_arguments(parsed, None)
    except HydraException as error:
        raise UserError("-m", str(error), "write the values out, as seed=0,1,2") from error
    return [[line.lstrip("+") for line in job] for batch in batches for job in batch]


def varied(overrides: Sequence[str], jobs: Sequence[Composed]) -> list[str]:
    """The overrides that not every job has: those that tell it from the others."""
    return [line for line in overrides if not all(line in job.overrides for job in jobs)]


def _shared_folders(verb: str, jobs: Sequence[Composed]) -> dict[str, list[str]]:
    """The run folders that several jobs of a sweep ask for by ``id``, and which jobs."""
    owners: dict[str, list[str]] = {}
    for composed in jobs:
        if verb == "train" and composed.config.get("id"):
            folder = "/".join(str(composed.config.get(key)) for key in ("runs", "name", "id"))
            owners.setdefault(folder, []).append(" ".join(varied(composed.overrides, jobs)))
    return {folder: names for folder, names in owners.items() if len(names) > 1}


def ready(jobs: Sequence[Job], words: SweepWords, launcher: Launcher) -> list[Job]:
    """The jobs to run, frozen; shows what is planned, and asks.

    Raises:
        Problems: a shape of which not even one batch can be trained.
        UserError: nobody said yes.
    """
    distinct: dict[Path, Job] = {}
    for job in jobs:
        distinct.setdefault(job.run, job)
    chosen = [*distinct.values()]
    known = _states(chosen)
    todo = [job for job in chosen if known[job.run].state not in BUSY]
    estimates = run_trials(todo, launcher) if todo and words.preflight == "batch" else {}
    console = wide_console()
    console.print(table_of(chosen, known, estimates))
    twice = len(jobs) - len(chosen)
    console.print(
        f"{len(todo)} to run, {len(chosen) - len(todo)} done or on their way"
        + (f", {twice} given twice" if twice else "")
        + _sum(todo, estimates)
    )
    if todo and not words.yes:
        ask(len(todo))
    for job in todo:
        job.save()
    return todo


def _states(jobs: Sequence[Job]) -> dict[Path, RunState]:
    """Run folder -> where it stands."""
    found = {}
    for study in dict.fromkeys(job.study for job in jobs):
        mine = [job for job in jobs if job.study == study]
        here = {state.id: state for state in states(study, mine)} if study.is_dir() else {}
        for job in mine:
            found[job.run] = here.get(job.id, RunState(job.id, job.name, NEW, 0, None, ""))
    return found


def wide_console() -> Console:
    """Standard output; a log file gets lines wide enough for the table."""
    console = Console(highlight=False, markup=False, soft_wrap=True)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=140)


def table_of(jobs: Sequence[Job], known: Mapping[Path, RunState], estimates: Mapping[str, Estimate]) -> Table:
    """A row for each job: where it stands and what it will cost."""
    table = Table(box=None, pad_edge=False)
    for name in ("run", "differs in", "state"):
        table.add_column(name, overflow="fold")
    for name in ("steps", "s/step", "hours", "GB", "batch of patches"):
        table.add_column(name, justify="right")
    for job in jobs:
        state, cost = (
            known.get(job.run, RunState(job.id, job.name, NEW, 0, None, "")),
            estimates.get(shape_of(job)),
        )
        at = f"{state.state} at step {state.step}" if state.step and state.state not in BUSY else state.state
        steps = job.config["training"].get("steps")
        cells = [str(state.steps or steps or "?"), "", "", "", ""]
        if cost is not None and state.state not in BUSY:
            patch = "x".join(map(str, cost.patch))
            numbers = (f"{cost.seconds:.2f}", f"{_hours(job, cost):.2f}", f"{cost.memory_gb:.1f}")
            cells = [str(state.steps or steps or cost.steps), *numbers, f"{cost.batch} of {patch}"]
        table.add_row(job.id, job.name, at, *cells)
    return table


def _hours(job: Job, cost: Estimate) -> float:
    """A time budget is kept; a number of steps takes what it takes."""
    training = job.config["training"]
    return float(training["minutes"]) / 60 if training.get("steps") is None else cost.hours


def _sum(jobs: Sequence[Job], estimates: Mapping[str, Estimate]) -> str:
    if not estimates:
        return ""
    costs = [(job, estimates[shape_of(job)]) for job in jobs]
    hours, most = sum(_hours(*each) for each in costs), max(cost.memory_gb for _, cost in costs)
    where = "GPU memory" if any(cost.device == "cuda" for _, cost in costs) else "memory"
    return f"; about {hours:.2f} hours of training altogether, {most:.1f} GB of {where} at most"


def ask(count: int) -> None:
    """Goes on where somebody says yes.

    Raises:
        UserError: nobody does.
    """
    if not sys.stdin.isatty():
        raise UserError("yes", f"{count} jobs are planned and nobody is there to be asked", "add yes=true")
    if input(f"start {count} jobs? [y/N] ").strip().lower() not in ("y", "yes"):
        raise UserError("yes", "nothing was started")
