"""A share of a store's cases, made while other processes make theirs."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from medseg.data.parallel import for_each
from medseg.data.source_hash import SourceHashes
from medseg.data.store import LOCK, build_case, recipe_of, safe_name
from medseg.data.store_case import open_case, settle
from medseg.errors import UserError

if TYPE_CHECKING:
    from medseg.data.cohort import Case, Cohort
    from medseg.data.plan import Plan


def build_shard(cohort: Cohort, cases: Sequence[Case], plan: Plan, cache: Path, workers: int) -> int:
    """Preprocesses those of the cases that are not there yet; `build_store` of all of them finds them.

    Any number of processes, on any machines that share ``cache``, may do this at once.

    Args:
        cohort: for its name and labels.
        cases: the share; with their labels, as far as these are to be stored.
        plan: how to preprocess; the same for all shares.
        cache: the folder of all stores.
        workers: processes; 0 and 1 stay in this one.

    Returns:
        How many were made, the others being there.

    Raises:
        Problems: every case that cannot be used, one line each.
        UserError: the cache cannot be written to.
    """
    home = cache / safe_name(cohort.name)
    with _shared(home):
        hashes = SourceHashes(home / "source-hashes.json")
        hashes.learn((path for case in cases for path in case.files), max(workers, 2))
        hashes.save()
        pairs = [(case, recipe_of(case, home, plan, cohort.labels, hashes)) for case in cases]
        todo = [pair for pair in pairs if open_case(pair[1].folder, pair[1].key) is None]
        for_each(partial(build_case, plan=plan, labels=cohort.labels), todo, workers, "Preprocessing")
        settle(recipe.folder for _, recipe in pairs)
    return len(todo)


@contextmanager
def _shared(home: Path) -> Iterator[None]:
    """Holds the lock of a cohort's stores together with other shares, never beside a whole build."""
    try:
        home.mkdir(parents=True, exist_ok=True)
        handle = os.open(home / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        problem = f"cannot be written to ({error.strerror})"
        raise UserError(str(home), problem, "set data.cache to a folder with room") from None
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)
