"""Which models wrote a folder of predictions, from which scans, so that nothing else is taken for them."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import medseg
from medseg.data.source_hash import SourceHashes
from medseg.errors import UserError
from medseg.files import sweep, value_hash, write_json
from medseg.inference.finish import Finish
from medseg.inference.manifest import MAX_BYTES, is_sha256, read_patients
from medseg.inference.settings import InferenceSettings

if TYPE_CHECKING:
    from medseg.data.cohort import Case
    from medseg.inference.bundle import Bundle

RECEIPT = "prediction.json"
LOCK = ".prediction.lock"


def wanted(
    bundles: Sequence[Bundle], settings: InferenceSettings, finish: Finish | None = None
) -> dict[str, Any]:
    """What decides a prediction: the bundles, with whom they saw, how it is finished, and the settings."""
    finish = finish or Finish()
    dropout = {"mc_dropout": settings.mc_dropout, "mc_seed": settings.mc_seed} if settings.mc_dropout else {}
    finished = {"finish": finish.decides} if finish != Finish() else {}
    return {
        "medseg": medseg.__version__,
        "models": [
            {"cohort": b.cohort, "hash": b.hash, "weights": b.weights_hash, "patients": b.patients.to_dict()}
            for b in bundles
        ],
        "settings": {"overlap": settings.overlap, "flips": settings.flips, "precision": settings.precision}
        | ({"object_score": settings.object_score} if any(b.finds_objects for b in bundles) else {})
        | dropout
        | finished,
        "tuned_on": [patients.to_dict() for patients in finish.tuned_on],
    }


def inputs_hash(case: Case, modalities: Iterable[str]) -> str:
    """The hash of what a case is predicted from: the content of its images, DICOM folders included.

    Raises:
        UserError: a file cannot be read.
    """
    images = {modality: case.images[modality] for modality in modalities if modality in case.images}
    hashes = SourceHashes(Path(os.devnull))  # remembers nothing: a changed scan is to be found
    found = {path: hashes.of(path) for path in set(images.values())}
    return value_hash({m: [found[path], case.components.get(m)] for m, path in images.items()})


@dataclass(frozen=True)
class Receipt:
    """``prediction.json`` in a folder that is claimed for one model's predictions.

    A file is listed, with the hash of its case's images, just before it is written and never while it
    holds anything else. So what is listed and there is a prediction, whenever a process was killed.

    Attributes:
        folder: of the predictions.
        decides: what was `wanted`.
    """

    folder: Path
    decides: Mapping[str, Any]

    @classmethod
    def claim(
        cls, folder: Path, decides: Mapping[str, Any], targets: Iterable[Path], replace_other: bool
    ) -> Receipt:
        """Leaves the receipt in ``folder``, before the first prediction.

        Args:
            folder: of the predictions.
            decides: what is `wanted`; all predictions that were made otherwise are removed first.
            targets: the predictions to come.
            replace_other: whether predictions that were made otherwise may be removed.

        Raises:
            UserError: there are such predictions and they may not, a target is there and no prediction,
                the receipt is damaged, or the folder cannot be written.
        """
        try:
            with alone(folder):
                return cls._claimed(folder, decides, targets, replace_other)
        except OSError as error:
            problem = f"cannot be written ({error.strerror or error})"
            raise UserError(f"output={folder}", problem, "choose a folder of yours with free space") from None

    @classmethod
    def _claimed(
        cls, folder: Path, decides: Mapping[str, Any], targets: Iterable[Path], replace_other: bool
    ) -> Receipt:
        path = folder / RECEIPT
        sweep(folder)
        old = _read(path) if path.exists() else None
        same = old is not None and _deciding(old) == _deciding(decides)
        if old is not None and not same and not replace_other:
            fix = "choose another folder, or inference.overwrite=true"
            raise UserError(f"output={folder}", "holds predictions of another model or other settings", fix)
        listed: dict[str, str] = old["files"] if old is not None else {}
        _refuse_foreign(folder, listed, targets)
        for name in () if same else listed:
            (folder / name).unlink(missing_ok=True)
        write_json(path, {**decides, "files": listed if same else {}})
        return cls(folder, decides)

    @property
    def own(self) -> str:
        """What stands for the inputs of a file that is about the folder, not about one case."""
        return value_hash(_deciding(self.decides))

    @property
    def files(self) -> dict[str, str]:
        """The listed names with the hashes of their inputs, as they are now on disk.

        Raises:
            UserError: the receipt is no longer this one.
        """
        content = _read(self.folder / RECEIPT)
        if _deciding(content) != _deciding(self.decides):
            problem = "another model's predictions were started there meanwhile"
            raise UserError(f"output={self.folder}", problem, "give every model a folder of its own")
        return dict(content["files"])

    def enter(self, target: Path, inputs: str) -> None:
        """Lists ``target``, which is written next, as predicted from ``inputs``.

        Raises:
            UserError: something else is there.
            OSError: the folder cannot be written.
        """
        with alone(self.folder):  # another process may predict other cases into the folder
            listed = self.files
            _refuse_foreign(self.folder, listed, [target])
            if listed.get(target.name) != inputs:
                target.unlink(missing_ok=True)
                write_json(self.folder / RECEIPT, {**self.decides, "files": {**listed, target.name: inputs}})


def seen_by(folder: Path) -> Callable[[str], bool] | None:
    """Tells of a patient whether any model that predicted into ``folder`` was trained or tuned on it.

    ``None`` where there is no receipt.

    Raises:
        UserError: the receipt is damaged.
    """
    path = folder / RECEIPT
    if not path.exists():
        return None
    content = _read(path)
    seen = [read_patients(model["patients"], str(path)) for model in content["models"]]
    seen += [read_patients(patients, str(path)) for patients in content.get("tuned_on", ())]
    return lambda patient: any(patient in patients for patients in seen)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Holds the folder's lock, which the system releases when the process dies.

    The folder itself is locked; where its file system cannot do that (NFS), a file in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError:
            from filelock import FileLock

            with FileLock(folder / LOCK):
                yield
                return
        yield
    finally:
        os.close(descriptor)


def _refuse_foreign(folder: Path, listed: Mapping[str, str], targets: Iterable[Path]) -> None:
    foreign = sorted(t.name for t in targets if t.name not in listed and os.path.lexists(t))
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        problem = f"{foreign[0]}{more} there: not predictions that {RECEIPT} lists"
        raise UserError(f"output={folder}", problem, "choose another folder, or move them away")


def _deciding(content: Mapping[str, Any]) -> list[Any]:
    return [content.get("models"), content.get("settings")]


def _read(path: Path) -> dict[str, Any]:
    fix = "move it away with its predictions, or name another folder"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UserError(str(path), f"is larger than {MAX_BYTES >> 20} MiB", fix)
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(str(path), f"cannot be read as JSON ({reason})", fix) from None
    if not _is_receipt(content):
        raise UserError(str(path), "is not a receipt that this medseg wrote", fix)
    return dict(content)


def _is_receipt(content: object) -> bool:
    if not isinstance(content, dict):
        return False
    models, files = content.get("models"), content.get("files")
    return (
        isinstance(models, list)
        and all(isinstance(m, dict) and isinstance(m.get("patients"), dict) for m in models)
        and isinstance(content.get("tuned_on", []), list)
        and all(isinstance(patients, dict) for patients in content.get("tuned_on", []))
        and isinstance(files, dict)
        # What is listed may be removed, so it must lie in the folder itself.
        and all(_is_plain(name) and is_sha256(inputs) for name, inputs in files.items())
    )


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..", RECEIPT) and not any(sign in name for sign in "/\\\0")
