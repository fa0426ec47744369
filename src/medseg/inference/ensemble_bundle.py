"""The ensemble: a folder of bundles of one task that predict together (docs/model-bundle.md)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from medseg.contracts import Labels
from medseg.data.plan_file import plain
from medseg.errors import UserError
from medseg.files import sync, write_json
from medseg.inference.bundle import Bundle, origin
from medseg.inference.finish import Finish, common_finish
from medseg.inference.finish_fields import check_finish, finish_fields, read_finish
from medseg.inference.manifest import (
    ENSEMBLE,
    MANIFEST,
    WEIGHTS,
    Fields,
    check_fields,
    is_sha256,
    is_specs,
    is_temperature,
    parse_json,
    read_labels,
    seal,
)
from medseg.inference.whole_folder import whole_folder

_MEMBER = re.compile(r"member_\d{1,3}")
MOST = 64


def _is_members(value: object) -> bool:
    return (
        isinstance(value, list)
        and 0 < len(value) <= MOST
        and all(isinstance(item, dict) and item.keys() == {"folder", "hash"} for item in value)
        and all(_MEMBER.fullmatch(str(item["folder"])) and is_sha256(item["hash"]) for item in value)
    )


_FIELDS: Fields = {
    "kind": (lambda v: v == ENSEMBLE, f"{ENSEMBLE!r}"),
    "members": (_is_members, f"1 to {MOST} folders member_N with their hashes"),
    "labels": (lambda v: isinstance(v, dict), "a mapping"),
    "modalities": (lambda v: isinstance(v, list) and all(isinstance(m, str) for m in v), "a list of names"),
    "postprocess": (is_specs, "a list of at most 64 steps"),
    "provenance": (lambda v: isinstance(v, dict), "a mapping"),
    "hash": (is_sha256, "a SHA-256"),
}
_OPTIONAL: Fields = {
    "temperature": (is_temperature, "a number from 0.01 to 100"),
    "tuned_on": (lambda v: isinstance(v, dict), "a mapping"),
}


@dataclass(frozen=True)
class Model:
    """What predicts: one bundle or several, whose probabilities are averaged, and how that is finished.

    Attributes:
        bundles: of one task.
        finish: what is done to the mean of their probabilities.
    """

    bundles: tuple[Bundle, ...]
    finish: Finish

    @property
    def labels(self) -> Labels:
        """What the outputs mean."""
        return self.bundles[0].labels

    def saw(self, patient: str) -> bool:
        """Whether it may not be scored on this patient: a member was trained on it, or it was tuned on it."""
        return self.finish.tuned(patient) or any(patient in bundle.patients for bundle in self.bundles)


def save_ensemble(
    bundles: Sequence[Path],
    folder: Path,
    *,
    postprocess: Sequence[Mapping[str, Any]] | None = None,
    temperature: float = 1.0,
    tuned_on: Iterable[str] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Path:
    """Writes one model of several bundles, as a whole: into a folder beside ``folder``, then renamed onto it.

    Args:
        bundles: folders of bundles or of other ensembles, which are taken apart; they are copied.
        folder: where it goes; what is there is replaced.
        postprocess: specs for the mean of their predictions; ``None`` for those that all of them have, and
            with them their temperature.
        temperature: of the mean of their probabilities, where ``postprocess`` is given.
        tuned_on: ids of the patients whose labels chose these.
        provenance: JSON values. No patient ids.

    Returns:
        ``folder``.

    Raises:
        UserError: a bundle cannot be used, they are not of one task, or were tuned differently.
    """
    members = load_bundles(bundles)
    require_one_task(members)
    patients: Iterable[str] | None = tuned_on
    if postprocess is None:
        shared = common_finish([one.finish for one in members], [one.folder for one in members])
        finish = Finish(shared.postprocess, shared.temperature)
    else:
        finish = Finish(tuple(postprocess), temperature)
    check_finish(finish, members[0].labels, str(folder))
    with whole_folder(folder) as scratch:
        entries = []
        for number, member in enumerate(members):
            name = f"member_{number}"
            _copy(member, scratch / name)
            entries.append({"folder": name, "hash": member.hash})
        manifest = {
            "kind": ENSEMBLE,
            "members": entries,
            "labels": plain(asdict(members[0].labels)),
            "modalities": list(members[0].plan.modalities),
            "provenance": origin() | {"cohort": members[0].cohort} | plain(dict(provenance or {})),
            **finish_fields(finish, patients),
        }
        write_json(scratch / MANIFEST, seal(manifest))
    return folder


def _copy(bundle: Bundle, target: Path) -> None:
    target.mkdir()
    for name in (MANIFEST, WEIGHTS):
        shutil.copyfile(bundle.folder / name, target / name)
        sync(target / name)
    sync(target)


def load_model(paths: Sequence[Path]) -> Model:
    """What the folders predict together; each is a bundle or an ensemble.

    A single one is finished as it says; several are, where all say the same.

    Raises:
        UserError: one of them cannot be used, they are not of one task, or were tuned differently.
    """
    if not paths:
        raise UserError("model", "none is given", "use model=FOLDER")
    loaded = [_load(Path(path)) for path in paths]
    bundles = tuple(bundle for one in loaded for bundle in one.bundles)
    require_one_task(bundles)
    return Model(bundles, common_finish([one.finish for one in loaded], paths))


def load_bundles(paths: Sequence[Path]) -> list[Bundle]:
    """The bundles in some folders, the members of ensembles one by one; how they are finished is lost.

    Raises:
        UserError: one of them cannot be used.
    """
    return [bundle for path in paths for bundle in _load(Path(path)).bundles]


def model_of(bundles: Sequence[Bundle]) -> Model:
    """What some bundles predict together, finished as all of them say.

    Raises:
        UserError: they are not of one task, or were tuned differently.
    """
    require_one_task(bundles)
    finish = common_finish([one.finish for one in bundles], [one.folder for one in bundles])
    return Model(tuple(bundles), finish)


def require_one_task(bundles: Sequence[Bundle]) -> None:
    """Refuses bundles whose predictions cannot be averaged.

    Raises:
        UserError: their labels or modalities differ.
    """
    first = bundles[0]
    for bundle in bundles:
        if bundle.labels != first.labels or bundle.plan.modalities != first.plan.modalities:
            problem = f"has other labels or modalities than {first.folder}"
            raise UserError(str(bundle.folder), problem, "average only models of one task")


def _load(folder: Path) -> Model:
    path = folder / MANIFEST
    if not path.is_file() or parse_json(path, "").get("kind") != ENSEMBLE:
        bundle = Bundle.load(folder)
        return Model((bundle,), bundle.finish)
    manifest, where = parse_json(path, ""), str(path)
    check_fields(path, manifest, _FIELDS, _OPTIONAL)
    bundles = []
    for member in manifest["members"]:
        bundle = Bundle.load(folder / member["folder"])
        if bundle.hash != member["hash"]:
            raise UserError(str(bundle.folder), "is not the member that the ensemble names", "copy it again")
        bundles.append(bundle)
    require_one_task(bundles)
    if read_labels(manifest["labels"], where) != bundles[0].labels:
        raise UserError(where, "labels are not those of its members", "copy the ensemble again")
    finish = read_finish(manifest, where)
    check_finish(finish, bundles[0].labels, where)
    # How its members are finished by themselves does not touch the mean of their probabilities.
    return Model(tuple(bundles), finish)
