"""Many runs from one command: every job is checked first, then Hydra's sweeper and launcher run them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.hydra import Hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from medseg.config.check import config_problems
from medseg.config.compose import Composed, compose, no_environment, plain, search_path
from medseg.config.hydra_node import sweep_settings
from medseg.config.overrides import read_overrides
from medseg.config.references import resolved
from medseg.config.run import call, text_of
from medseg.errors import Problems, UserError


def sweep(verb: str, given: Sequence[str], config_dirs: Sequence[Path], *, show: bool = False) -> int:
    """Checks every job of the sweep, then runs them all.

    Raises:
        Problems: any job's configuration is wrong; no job was started.
    """
    jobs = preflight(verb, given, config_dirs)
    print(f"{len(jobs)} jobs, all checked", file=sys.stderr)
    if show:
        print("---\n".join(text_of(job.config) for job in jobs), end="")
        return 0
    overrides = read_overrides(verb, given, tuple(config_dirs), sweep=True)
    with no_environment():
        GlobalHydra.instance().clear()
        hydra = Hydra.create_main_hydra2("medseg", search_path(config_dirs))
        try:
            lines = [*sweep_settings(verb), *overrides.lines]
            results = hydra.multirun(verb, job, lines, with_log_configuration=False)
        finally:
            GlobalHydra.instance().clear()
    answers = [result.return_value for batch in results or () for result in batch]
    failed = [answer for answer in answers if isinstance(answer, str)]
    if failed:
        raise Problems(failed)
    return max((answer for answer in answers if isinstance(answer, int)), default=0)


def preflight(verb: str, given: Sequence[str], config_dirs: Sequence[Path] = ()) -> list[Composed]:
    """Every job of the sweep, composed and checked.

    Raises:
        Problems: a line for each problem, with the overrides of the jobs that have it.
    """
    overrides = read_overrides(verb, given, tuple(config_dirs), sweep=True)
    jobs = [compose(verb, line, config_dirs) for line in expand(overrides.lines, config_dirs)]
    owners: dict[str, list[str]] = {}
    for composed in jobs:
        for line in composed.problems:
            owners.setdefault(line, []).append(" ".join(_varied(composed.overrides, jobs)))
    for folder, names in _shared_folders(verb, jobs).items():
        owners[f"id: {len(names)} jobs would share the run {folder}; leave id out"] = names
    everywhere = [line for line, names in owners.items() if len(names) == len(jobs)]
    some = [f"{line} (in {'; '.join(n)})" for line, n in owners.items() if line not in everywhere]
    if found := {*overrides.problems, *everywhere, *some}:
        raise Problems(sorted(found))
    return jobs


def _shared_folders(verb: str, jobs: Sequence[Composed]) -> dict[str, list[str]]:
    """The run folders that several jobs of a sweep ask for by ``id``, and which jobs."""
    owners: dict[str, list[str]] = {}
    for composed in jobs:
        if verb == "train" and composed.config.get("id"):
            folder = "/".join(str(composed.config.get(key)) for key in ("runs", "name", "id"))
            owners.setdefault(folder, []).append(" ".join(_varied(composed.overrides, jobs)))
    return {folder: names for folder, names in owners.items() if len(names) > 1}


def _varied(overrides: Sequence[str], jobs: Sequence[Composed]) -> list[str]:
    """The overrides that not every job has: those that tell it from the others."""
    return [line for line in overrides if not all(line in job.overrides for job in jobs)]


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


def _user_folders() -> list[Path]:
    """The folders of ``--config-dir``, as Hydra hands them to a job."""
    sources = HydraConfig.get().runtime.config_sources
    return [Path(source.path) for source in sources if source.provider == "command-line"]


def job(node: DictConfig) -> int | str:
    """One job of a sweep, in this process or on another machine; its exit code, or what was wrong."""
    settings = HydraConfig.get()
    verb, own = str(settings.job.config_name), [str(line).lstrip("+") for line in settings.overrides.task]
    config, lines = resolved(plain(node))
    lines += config_problems(verb, config)
    try:
        return call(Composed(verb, config, tuple(own), tuple(lines)).checked(), _user_folders())
    except UserError as error:
        return f"job {settings.job.num} ({' '.join(own)}): {error}"
