"""The store: preprocessed cases on disk, readable by region, built once per content and settings.

    CACHE/COHORT/cases/ID-KEY/      a case, see `medseg.data.store_case`; shared by all stores that need it
    CACHE/COHORT/stores/KEY/        store.json: which cases belong together, made from what
    CACHE/COHORT/source-hashes.json what the source files contain

A case's key is made of the bytes of its files, the plan's preprocessing, the labels and the code's version,
so nothing stale is ever read: what changes gets another key.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.contracts import Labels
from medseg.data.parallel import for_each
from medseg.data.preprocess import preprocess_case
from medseg.data.source_hash import SourceHashes, Stamp, refuse_change
from medseg.data.store_case import FORMAT, StoredCase, open_case, settle, sweep, write_case
from medseg.errors import Problems, UserError
from medseg.files import value_hash, write_json

if TYPE_CHECKING:
    from medseg.data.cohort import Case, Cohort
    from medseg.data.plan import Plan

CODE_VERSION = 1
"""Raised whenever the same files and plan would give other arrays than before."""
KEY_LENGTH = 16
LOCK = ".lock"
"""In the folder of a cohort's stores."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Store:
    """Preprocessed cases; small, and cheap to send to another process.

    Attributes:
        folder: of ``store.json``.
        key: what the store was made from.
        modalities: the images' channels.
        cases: id -> case, in the order they were asked for.
    """

    folder: Path
    key: str
    modalities: tuple[str, ...]
    cases: Mapping[str, StoredCase]

    @property
    def ids(self) -> tuple[str, ...]:
        """The case ids."""
        return tuple(self.cases)

    def case(self, case_id: str) -> StoredCase:
        """One case.

        Raises:
            UserError: it is not in the store.
        """
        if case_id not in self.cases:
            raise UserError(str(self.folder), f"has no case {case_id!r}", "build it with this case")
        return self.cases[case_id]

    @property
    def labelled(self) -> tuple[str, ...]:
        """The ids of cases that have a label here."""
        return tuple(case_id for case_id, case in self.cases.items() if case.labelled)

    @classmethod
    def open(cls, folder: Path) -> Store:
        """Opens a store and checks that every case is whole (sizes, not every byte).

        Raises:
            UserError: there is no store.
            Problems: the cases that are damaged.
        """
        try:
            found = json.loads((folder / "store.json").read_text(encoding="utf-8"))
            stated = found.pop("hash")
            sound = value_hash(found) == stated and found["format"] == FORMAT
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            sound = False
        if not sound:
            raise UserError(str(folder), "is not a whole store", "build it again; that keeps what is sound")
        root = folder.parent.parent / "cases"
        opened = {i: open_case(root / e["folder"], e["key"]) for i, e in found["cases"].items()}
        cases = {case_id: case for case_id, case in opened.items() if case is not None}
        if len(cases) < len(opened):
            lines = (
                f"{root / found['cases'][i]['folder']}: case {i} is damaged; build the store again"
                for i in opened
                if i not in cases
            )
            raise Problems(lines)
        return cls(folder, found["key"], tuple(found["modalities"]), cases)

    def damaged(self) -> list[str]:
        """One line per file whose bytes have changed since; reads the whole store."""
        return [
            f"{case.folder / name}.npy: is not what was written; delete its folder and build the store again"
            for case in self.cases.values()
            for name in case.damaged()
        ]


def build_store(
    cohort: Cohort,
    cases: Sequence[Case],
    plan: Plan,
    cache: Path,
    workers: int = 1,
    with_labels: Collection[str] | None = None,
) -> Store:
    """Preprocesses the cases that are not there yet, and opens the store of all of them.

    Two processes may call it at once: one waits. After a kill the next call makes what is not whole.

    Args:
        cohort: for its name and labels.
        cases: what to have in the store, in this order.
        plan: how to preprocess.
        cache: the folder of all stores.
        workers: processes; 0 and 1 stay in this one.
        with_labels: ids whose labels are stored; ``None`` for all that have one. The others' are not read.

    Raises:
        Problems: every case that cannot be used, one line each.
    """
    _refuse(cohort, cases)
    home = cache / safe_name(cohort.name)
    allowed = {case.id for case in cases} if with_labels is None else set(with_labels)
    cases = [case if case.id in allowed else _unlabelled(case) for case in cases]
    with _alone(home):
        sweep(home / "cases")
        hashes = SourceHashes(home / "source-hashes.json")
        hashes.learn((path for case in cases for path in case.files), max(workers, 2))
        hashes.save()
        recipes = {case.id: recipe_of(case, home, plan, cohort.labels, hashes) for case in cases}
        pairs = [(case, recipes[case.id]) for case in cases]
        todo = [pair for pair in pairs if open_case(pair[1].folder, pair[1].key) is None]
        make = partial(build_case, plan=plan, labels=cohort.labels)
        for_each(make, todo, workers, "Preprocessing")
        settle(recipe.folder for recipe in recipes.values())
        return Store.open(_write_store(home, cohort, plan, recipes))


def _refuse(cohort: Cohort, cases: Sequence[Case]) -> None:
    if not cases:
        raise UserError("store", f"no case of {cohort.name} was asked for", "check the split")
    if len({case.id for case in cases}) < len(cases):
        raise UserError("store", f"a case id of {cohort.name} occurs twice", "run `medseg check`")


@dataclass(frozen=True)
class Recipe:
    """What one case is made from: its ``folder``, its ``key``, and the ``stamps`` of its source files."""

    folder: Path
    key: str
    stamps: Mapping[str, Stamp]


def recipe_of(case: Case, home: Path, plan: Plan, labels: Labels, hashes: SourceHashes) -> Recipe:
    """Where a case is stored, and what from."""
    key = case_key(case, plan, labels, hashes)
    return Recipe(home / "cases" / f"{safe_name(case.id)}-{key[:KEY_LENGTH]}", key, hashes.stamps(case.files))


def _unlabelled(case: Case) -> Case:
    return replace(case, label=None, raters={})


def case_key(case: Case, plan: Plan, labels: Labels, hashes: SourceHashes) -> str:
    """What a stored case depends on, as a hash."""
    images = {
        modality: [hashes.of(case.images[modality]), case.components.get(modality)]
        for modality in plan.modalities
        if modality in case.images
    }
    reference: Any = None
    if case.label is not None:
        reference = hashes.of(case.label)
    elif case.raters:
        reference = {rater: hashes.of(path) for rater, path in case.raters.items()}
    meaning = asdict(labels) if case.labelled else None
    return value_hash([CODE_VERSION, FORMAT, case.id, plan.preprocessing, images, reference, meaning])


def build_case(task: tuple[Case, Recipe], plan: Plan, labels: Labels) -> str:
    """Reads, prepares and writes one case; its id."""
    from medseg.data.cohort import read_label, read_modality

    case, recipe = task
    volumes = {m: read_modality(case, m) for m in plan.modalities if m in case.images}
    names = {modality: str(path) for modality, path in case.images.items()}
    names["label"] = str(case.label) if case.label is not None else case.id
    prepared = preprocess_case(volumes, read_label(case, labels), plan, labels, names)
    refuse_change(recipe.stamps)
    write_case(recipe.folder, case.id, recipe.key, prepared)
    return case.id


def _write_store(home: Path, cohort: Cohort, plan: Plan, recipes: Mapping[str, Recipe]) -> Path:
    content = {
        "format": FORMAT,
        "cohort": cohort.name,
        "key": value_hash([recipe.key for recipe in recipes.values()]),
        "modalities": list(plan.modalities),
        "preprocessing": plan.preprocessing,
        "cases": {i: {"folder": recipe.folder.name, "key": recipe.key} for i, recipe in recipes.items()},
    }
    folder = home / "stores" / str(content["key"])[:KEY_LENGTH]
    write_json(folder / "store.json", {**content, "hash": value_hash(content)})
    return folder


def safe_name(name: str) -> str:
    """A name that every file system takes; keys keep different names apart."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:80].lstrip(".") or "case"


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Holds the lock of a cohort's stores, which the system releases when the process dies."""
    from filelock import FileLock, Timeout

    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = FileLock(home / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            logger.warning("Another process builds a store in %s: waiting for it", home)
            lock.acquire()
    except OSError as error:
        problem = f"cannot be written to ({error.strerror})"
        raise UserError(str(home), problem, "set data.cache to a folder with room") from None
    try:
        yield
    finally:
        lock.release()
