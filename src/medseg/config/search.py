"""A search with Optuna: trials are runs, and a search that was killed goes on from its journal.

runs/STUDY/.sweep/search.log   Optuna's journal: what was drawn and what came of it
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.config.compose import Composed, compose
from medseg.config.jobs import SWEEP, Job, jobs_of, load
from medseg.config.launchers.settings import Launcher, SlurmLauncher
from medseg.config.overrides import read_overrides
from medseg.config.preflight import ask, refuse_problems, table_of, wide_console
from medseg.config.search_settings import SearchSettings
from medseg.config.search_space import Space, read_space
from medseg.config.sweep_words import SweepWords
from medseg.config.trials import run_trials
from medseg.errors import Problems, UserError

JOURNAL = "search.log"


def run_search(
    verb: str, words: SweepWords, config_dirs: Sequence[Path], settings: SearchSettings, launcher: Launcher
) -> int:
    """Draws, trains and tells until there are as many trials as asked for.

    Returns:
        0, or 1 where no trial has given a result.

    Raises:
        Problems: a configuration at an end of the space is wrong; no trial was started.
        UserError: nobody said yes, or the study holds another search.
    """
    if verb != "train":
        raise UserError("hydra/sweeper=optuna", f"cannot search with medseg {verb}", "use medseg train")
    try:
        import optuna
    except ImportError:
        problem = "needs optuna, which is not installed"
        raise UserError("hydra/sweeper=optuna", problem, "install medseg[search]") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    overrides = read_overrides(verb, words.jobs, tuple(config_dirs), sweep=True)
    if overrides.problems:
        raise Problems(sorted(overrides.problems))
    space = read_space(overrides.lines)
    corners = [compose(verb, line, config_dirs) for line in space.corners()]
    refuse_problems(verb, corners)
    folder = jobs_of(corners, config_dirs)[0].study
    begun = (folder / SWEEP / JOURNAL).exists()  # where nobody says yes nothing is left behind
    left = settings.trials - (Search(space, config_dirs, settings, folder).ended if begun else 0)
    if left > 0:
        _preview(corners, words, config_dirs, launcher, left)
    if isinstance(launcher, SlurmLauncher):
        launcher = replace(launcher, wait=True)
    search = Search(space, config_dirs, settings, folder)
    while batch := search.draw():
        search.tell(batch, launcher)
    return search.conclude()


def _preview(
    corners: Sequence[Composed],
    words: SweepWords,
    config_dirs: Sequence[Path],
    launcher: Launcher,
    count: int,
) -> None:
    jobs = jobs_of(corners, config_dirs)
    estimates = run_trials(jobs, launcher) if words.preflight == "batch" else {}
    console = wide_console()
    console.print(table_of(jobs, {}, estimates))
    console.print(f"the ends of the space; {count} trials to run")
    if not words.yes:
        ask(count)


class Search:
    """One study of Optuna.

    Args:
        space: what may be chosen.
        config_dirs: the user's folders.
        settings: how to search.
        folder: of the runs.

    Raises:
        UserError: the folder holds a search of another space or metric.
    """

    def __init__(
        self, space: Space, config_dirs: Sequence[Path], settings: SearchSettings, folder: Path
    ) -> None:
        import optuna
        from optuna.storages.journal import JournalFileBackend

        self.space, self.config_dirs, self.settings, self.folder = space, config_dirs, settings, folder
        self._optuna = optuna
        journal = folder / SWEEP / JOURNAL
        journal.parent.mkdir(parents=True, exist_ok=True)
        direction: Any = settings.direction
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(journal)))
        self.study = optuna.create_study(
            storage=storage, study_name="search", direction=direction, load_if_exists=True
        )
        told = space.told | {"metric": settings.metric, "direction": settings.direction}
        if self.study.user_attrs.get("search", told) != told:
            problem = "holds a search over another space, or of another metric"
            raise UserError(str(folder), problem, "give it another name=")
        self.study.set_user_attr("search", told)

    @property
    def ended(self) -> int:
        """Trials that have an end, good or bad."""
        return sum(trial.state.is_finished() for trial in self.study.get_trials(deepcopy=False))

    def draw(self) -> list[tuple[int, Job]]:
        """The next trials: first those that a killed search has left; numbers and jobs."""
        running = self.study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState.RUNNING,))
        batch = [(trial.number, self._kept(trial)) for trial in running]
        while len(batch) < self.settings.at_once and len(self.study.trials) < self.settings.trials:
            # A sampler for each trial: what is drawn depends on the results alone, not on restarts.
            self.study.sampler = self._sampler(len(self.study.trials))
            trial = self.study.ask(self.space.keys)
            job = self._job(trial.params)
            job.save()
            trial.set_user_attr("run", job.id)
            batch.append((trial.number, job))
        return batch

    def tell(self, batch: Sequence[tuple[int, Job]], launcher: Launcher) -> None:
        """Trains, and tells Optuna what came of it; a failure is written down and the search goes on."""
        from medseg.config.multirun import launch

        todo = {job.run: job for _, job in batch if self._value(job) is None}
        failed = [answer for answer in launch([*todo.values()], launcher) if isinstance(answer, str)]
        for line in failed:
            print(line, file=sys.stderr)
        for number, job in batch:
            value = self._value(job)
            if value is None:
                self.study.tell(number, state=self._optuna.trial.TrialState.FAIL)
            else:
                self.study.tell(number, value)
            got = f"{self.settings.metric} {value:.4f}" if value is not None else "failed"
            print(
                f"trial {number + 1} of {self.settings.trials}: {got}  {job.name}  run {job.id}", flush=True
            )

    def conclude(self) -> int:
        """Says which was best."""
        good = self.study.get_trials(states=(self._optuna.trial.TrialState.COMPLETE,))
        if not good:
            print(f"no trial has a result; see medseg status {self.folder}", file=sys.stderr)
            return 1
        best = self.study.best_trial
        choice = " ".join(f"{key}={value}" for key, value in best.params.items())
        print(f"best of {len(good)}: {self.settings.metric} {best.value:.4f} with {choice}")
        print(f"run {self.folder / best.user_attrs['run']}")
        return 0

    def _sampler(self, number: int) -> Any:
        samplers = self._optuna.samplers
        seed = int(np.random.SeedSequence((self.settings.seed, number)).generate_state(1)[0])
        if self.settings.sampler == "random":
            return samplers.RandomSampler(seed)
        return samplers.TPESampler(n_startup_trials=self.settings.startup, seed=seed)

    def _job(self, params: dict[str, Any]) -> Job:
        composed = compose("train", self.space.words(params), self.config_dirs).checked()
        job = jobs_of([composed], self.config_dirs)[0]
        return replace(job, varied=tuple(f"{key}={value}" for key, value in params.items()))

    def _kept(self, trial: Any) -> Job:
        """The frozen job of a trial; a search that was killed just before it was written makes it anew."""
        file = self.folder / SWEEP / f"{trial.user_attrs.get('run')}.yaml"
        if file.exists():
            return load(file)
        job = self._job(trial.params)
        job.save()
        return job

    def _value(self, job: Job) -> float | None:
        """What a finished run has reached, ``None`` where it is not finished or has no such number."""
        try:
            record = json.loads((job.run / "record.json").read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return None
        if record.get("status") != "finished":
            return None
        overall = record.get("results", {}).get("validation", {}).get("overall", {})
        if self.settings.metric not in overall:
            raise UserError(
                "hydra.sweeper.metric",
                f"{job.run} has no {self.settings.metric}",
                f"use {', '.join(overall)}",
            )
        mean = overall[self.settings.metric]["mean"]
        return None if mean is None else float(mean)
