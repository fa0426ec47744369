"""One function over many cases: in processes, with a progress bar, and with all complaints at the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from medseg.errors import Problems, UserError

Item = TypeVar("Item")
Result = TypeVar("Result")
ENOUGH = 50
"""Complaints after which the rest of the cases is not looked at."""


def _guarded(
    function: Callable[[Item], Result], number: int, item: Item
) -> tuple[int, Result | None, str | None]:
    # Complaints travel as text: an exception's own class may not survive the way between processes.
    try:
        return number, function(item), None
    except UserError as error:
        return number, None, str(error)


def for_each(
    function: Callable[[Item], Result], items: Sequence[Item], workers: int, title: str
) -> list[Result]:
    """The results in the order of ``items``.

    Args:
        function: at the top level of a module, or a `functools.partial` of one.
        items: what to call it with, one by one.
        workers: processes; 0 and 1 stay in this one.
        title: of the progress bar, which is shown on a terminal only.

    Raises:
        Problems: every `UserError` that a call raised, one line each.
    """
    from joblib import Parallel, delayed

    # Starting processes costs seconds, which a handful of cases does not repay.
    processes = max(1, min(workers, len(items) // 4))
    calls = (delayed(_guarded)(function, number, item) for number, item in enumerate(items))
    done = Parallel(n_jobs=processes, return_as="generator_unordered")(calls)
    results: dict[int, Result] = {}
    problems: list[str] = []
    for number, result, problem in _shown(done, len(items), title):
        if problem is not None:
            problems.append(problem)
            if len(problems) >= ENOUGH:
                raise Problems([*sorted(problems), f"{title}: stopped after {ENOUGH} problems"])
        elif result is not None:
            results[number] = result
    if problems:
        raise Problems(sorted(problems))
    return [results[number] for number in range(len(items))]


def _shown(done: Iterable[Result], total: int, title: str) -> Iterable[Result]:
    from rich.console import Console
    from rich.progress import track

    return track(
        done, title, total, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()
    )
