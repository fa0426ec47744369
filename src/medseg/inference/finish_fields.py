"""How a finish stands in ``model.json``, and how it is written there without touching the weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from medseg.contracts import Labels
from medseg.data.plan_file import plain
from medseg.errors import Problems, UserError
from medseg.files import write_json
from medseg.inference.finish import Finish
from medseg.inference.manifest import MANIFEST, parse_json, read_labels, read_patients, seal
from medseg.inference.patients import SeenPatients
from medseg.postprocess.chain import step_problems


def finish_fields(finish: Finish, patients: Iterable[str] | None) -> dict[str, Any]:
    """The fields of a manifest; ``patients`` chose it, ``None`` where nobody did."""
    fields: dict[str, Any] = {"postprocess": plain(list(finish.postprocess))}
    if finish.temperature != 1:
        fields["temperature"] = float(finish.temperature)
    if patients is not None:
        fields["tuned_on"] = SeenPatients.of(patients).to_dict()
    return fields


def read_finish(manifest: Mapping[str, Any], where: str) -> Finish:
    """The finish in a manifest whose fields were checked.

    Raises:
        UserError: ``tuned_on`` is no list of patients.
    """
    tuned = (read_patients(manifest["tuned_on"], where),) if "tuned_on" in manifest else ()
    return Finish(tuple(manifest["postprocess"]), float(manifest.get("temperature", 1.0)), tuned)


def check_finish(finish: Finish, labels: Labels, where: str) -> None:
    """Refuses steps that are none, or that do not fit the labels.

    Raises:
        Problems: a line for each.
        UserError: a step does not fit the labels.
    """
    if found := step_problems(finish.postprocess):
        raise Problems(f"{where}: {line}" for line in found)
    try:
        finish.chain(labels)
    except Problems:
        raise
    except UserError as error:
        raise UserError(where, f"{error.where} {error.problem}", error.fix) from None


def store_finish(folder: Path, finish: Finish, patients: Iterable[str] | None) -> Path:
    """Gives a bundle, or an ensemble, another finish: ``model.json`` is replaced in one rename, weights stay.

    Args:
        folder: of the bundle.
        finish: its steps and temperature; whoever it was tuned on before is replaced too.
        patients: ids of those whose labels chose it; kept as salted hashes. ``None`` where nobody's did.

    Returns:
        ``folder``.

    Raises:
        UserError: the steps do not fit, or the folder holds no model.
    """
    path = folder / MANIFEST
    kept = parse_json(path, "name the folder of a model")
    changed = {k: v for k, v in kept.items() if k not in ("hash", "postprocess", "temperature", "tuned_on")}
    check_finish(finish, read_labels(kept.get("labels", {}), str(path)), str(path))
    write_json(path, seal({**changed, **finish_fields(finish, patients)}))
    return folder
