"""The files that a case's prediction is made of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medseg.data.cohort import Case
from medseg.data.formats import label_suffix, map_suffix
from medseg.errors import UserError
from medseg.inference.probability_file import PROBABILITIES
from medseg.inference.review import REVIEW

INSTANCES, OBJECTS = "_instances", "_objects.csv"
UNCERTAINTY, DISAGREEMENT = "_uncertainty", "_disagreement"


@dataclass(frozen=True)
class Extras:
    """What is written beside the label maps.

    Attributes:
        objects: the networks find objects one by one.
        probabilities: of every voxel.
        uncertainty: the entropy of the mean, and the list of cases to review.
        disagreement: there are several members, flips or dropout passes to disagree.
    """

    objects: bool = False
    probabilities: bool = False
    uncertainty: bool = False
    disagreement: bool = False


@dataclass(frozen=True)
class Outputs:
    """Where a prediction goes.

    Attributes:
        label: the label map.
        instances: the map of single objects, where the networks find them.
        objects: the table of them, likewise.
        probabilities: of every voxel, where they are asked for.
        uncertainty: the map of entropies, likewise.
        disagreement: the map of the spread, likewise.
    """

    label: Path
    instances: Path | None = None
    objects: Path | None = None
    probabilities: Path | None = None
    uncertainty: Path | None = None
    disagreement: Path | None = None

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them, the label map last: where it is, so are the others."""
        more = (self.instances, self.objects, self.probabilities, self.uncertainty, self.disagreement)
        return (*(path for path in more if path is not None), self.label)

    @property
    def review(self) -> Path | None:
        """The list that the case is entered in, one for the whole folder."""
        return None if self.uncertainty is None else self.label.parent / REVIEW


def outputs_of(folder: Path, case: Case, reference: Path, extras: Extras) -> Outputs:
    """The files of a case, in the file type of ``reference``."""
    suffix, fractions = label_suffix(reference), map_suffix(reference)

    def named(wanted: bool, ending: str) -> Path | None:
        return folder / (case.id + ending) if wanted else None

    return Outputs(
        folder / (case.id + suffix),
        named(extras.objects, INSTANCES + suffix),
        named(extras.objects, OBJECTS),
        named(extras.probabilities, PROBABILITIES),
        named(extras.uncertainty, UNCERTAINTY + fractions),
        named(extras.uncertainty and extras.disagreement, DISAGREEMENT + fractions),
    )


def spare_inputs(cases: Sequence[Case], outputs: Mapping[str, Outputs]) -> None:
    """Refuses an output folder in which a prediction would take the place of a scan, or of another.

    Raises:
        UserError: it would.
    """
    scans = {path.resolve() for case in cases for path in case.files}
    taken = {each.review for each in outputs.values() if each.review is not None}
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
