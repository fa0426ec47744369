"""The words of a sweep's command line that speak of the sweep and not of its jobs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from medseg.config.bindings import make
from medseg.config.launchers.settings import LAUNCHERS, Launcher
from medseg.config.search_settings import SearchSettings
from medseg.errors import Problems
from medseg.targets import converted, mismatch, nearest, parameters

PREFLIGHTS = ("batch", "check")
_HYDRA = ("hydra/", "hydra.", "+hydra", "++hydra")


@dataclass(frozen=True)
class SweepWords:
    """A sweep's command line, taken apart.

    Attributes:
        jobs: the overrides of the jobs.
        hydra: the choices of launcher and sweeper.
        yes: whether to begin without asking.
        preflight: ``batch`` also runs one batch of each shape, ``check`` only checks the configurations.
        resume: the study whose unfinished jobs are wanted.
    """

    jobs: tuple[str, ...]
    hydra: tuple[str, ...]
    yes: bool = False
    preflight: str = "batch"
    resume: str | None = None


def read_words(given: Sequence[str]) -> SweepWords:
    """Takes the words apart.

    Raises:
        Problems: a value that cannot be used, one line each.
    """
    found: dict[str, Any] = {}
    jobs, hydra, problems = [], [], []
    for word in given:
        key, _, value = word.partition("=")
        if word.startswith(_HYDRA):
            hydra.append(word)
        elif key == "yes":
            found[key] = value.lower() == "true"
            if value.lower() not in ("true", "false"):
                problems.append(f"yes: {value!r} is no answer; use true or false")
        elif key == "preflight":
            found[key] = value
            if value not in PREFLIGHTS:
                problems.append(f"preflight: {value!r} is unknown; use one of {', '.join(PREFLIGHTS)}")
        elif key == "resume":
            found[key] = value
        else:
            jobs.append(word)
    if problems:
        raise Problems(problems)
    return SweepWords(tuple(jobs), tuple(hydra), **found)


def launcher_of(node: Any) -> Launcher:
    """The settings of ``hydra.launcher``; Hydra's own default means one job after the other.

    Raises:
        Problems: what is wrong with them, one line each.
    """
    values = dict(node or {})
    if "basic_launcher" in str(values.get("_target_", "")):
        values = {"kind": "local"}
    if values.get("kind") not in LAUNCHERS:
        target = values.get("_target_", values.get("kind"))
        raise Problems(
            [f"hydra/launcher: {target} is none of medseg's; choose one of {', '.join(LAUNCHERS)}"]
        )
    launcher: Launcher = _made(LAUNCHERS[str(values["kind"])], values, "hydra.launcher.")
    return launcher


def search_of(node: Any) -> SearchSettings | None:
    """The settings of ``hydra.sweeper`` where it is a search; ``None`` for grids and lists.

    Raises:
        Problems: what is wrong with them, one line each.
    """
    values = dict(node or {})
    if "basic_sweeper" in str(values.get("_target_", "")):
        return None
    if values.get("kind") != "optuna":
        target = values.get("_target_", values.get("kind"))
        raise Problems([f"hydra/sweeper: {target} is none of medseg's; choose basic or optuna"])
    search: SearchSettings = _made("medseg.config.search_settings.SearchSettings", values, "hydra.sweeper.")
    return search


def _made(dotted: str, values: dict[str, Any], prefix: str) -> Any:
    """The settings, or every problem of the values at once."""
    taken = {p.name: p for p in parameters(dotted)}
    lines, good = [], {}
    for key, value in values.items():
        if key not in taken:
            guess = nearest(key, taken)
            lines.append(
                f"{prefix}{key}: there is no such key" + (f"; did you mean {guess}?" if guess else "")
            )
        elif wrong := mismatch(value, taken[key].annotation):
            lines.append(f"{prefix}{key}: {wrong}")
        else:
            good[key] = converted(value, taken[key].annotation)
    settings = make(dotted, good)
    lines += [f"{prefix}{line}" for line in settings.problems()]
    if lines:
        raise Problems(sorted(lines))
    return settings
