"""The files that a case's prediction is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.data.cohort import Case
from medseg.data.formats import label_suffix
from medseg.errors import UserError

INSTANCES, OBJECTS = "_instances", "_objects.csv"


@dataclass(frozen=True)
class Outputs:
    """Where a prediction goes.

    Attributes:
        label: the label map.
        instances: the map of single objects, where the networks find them.
        objects: the table of them, likewise.
    """

    label: Path
    instances: Path | None = None
    objects: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(path for path in (self.label, self.instances, self.objects) if path is not None)


def outputs_of(folder: Path, case: Case, reference: Path, objects: bool) -> Outputs:
    """The files of a case, in the file type of ``reference``; two more where ``objects`` are asked for."""
    suffix = label_suffix(reference)
    label = folder / (case.id + suffix)
    if not objects:
        return Outputs(label)
    return Outputs(label, folder / (case.id + INSTANCES + suffix), folder / (case.id + OBJECTS))


def spare_inputs(cases: Sequence[Case], outputs: Mapping[str, Outputs]) -> None:
    """Refuses an output folder in which a prediction would take the place of a scan, or of another.

    Raises:
        UserError: it would.
    """
    scans = {path.resolve() for case in cases for path in case.files}
    taken: set[Path] = set()
    for target in _files(outputs.values()):
        if target.resolve() in scans:
            raise UserError(
                f"output={target.parent}", f"{target.name} there is a scan", "choose another folder"
            )
        if target in taken:
            raise UserError(f"output={target.parent}", f"two cases would write {target.name}", "rename one")
        taken.add(target)


def _files(outputs: Iterable[Outputs]) -> list[Path]:
    return [path for each in outputs for path in each.files]
