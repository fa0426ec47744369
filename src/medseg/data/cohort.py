"""Cases and cohorts, and the one way to read a case's modalities and its reference label."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medseg.contracts import Labels
from medseg.data.formats import Volume, read_volume
from medseg.data.geometry import grid_difference
from medseg.data.labels import encode, majority
from medseg.errors import UserError

if TYPE_CHECKING:
    import torchio as tio


@dataclass(frozen=True)
class Case:
    """One examination.

    Attributes:
        id: its name, unique in the cohort.
        patient: whose it is; splits assign patients.
        images: modality -> file, or the folder of a DICOM series; modalities may be missing.
        label: the reference label map, if there is one in a file.
        centre: where it was acquired.
        fold: a fold given with the data.
        raters: expert -> label map. Without a ``label`` their majority is the reference.
        components: modality -> which volume of a 4D file (or colour of a picture) it is; only for
            modalities that share a file.
    """

    id: str
    patient: str
    images: Mapping[str, Path]
    label: Path | None = None
    centre: str | None = None
    fold: int | None = None
    raters: Mapping[str, Path] = field(default_factory=dict)
    components: Mapping[str, int] = field(default_factory=dict)

    @property
    def labelled(self) -> bool:
        """Whether `read_label` gives a label: a file, or raters to ask."""
        return self.label is not None or bool(self.raters)

    @property
    def files(self) -> tuple[Path, ...]:
        """Everything the case is read from, each once: images, then label, then raters."""
        label = () if self.label is None else (self.label,)
        return tuple(dict.fromkeys((*self.images.values(), *label, *self.raters.values())))


@dataclass(frozen=True)
class Cohort:
    """A list of cases with the names of their modalities and labels.

    Attributes:
        name: of the data set.
        cases: in the order of their ids. Ids may repeat until `medseg.data.verify` has looked.
        modalities: their names, in the order of a network's input channels.
        labels: what the numbers in the label files mean.
        root: the folder they come from.
        spatial_dims: 2 for pictures and single slices, else 3.
        scanned: whether nobody declared the labels, so that they were looked up in all label files.
    """

    name: str
    cases: tuple[Case, ...]
    modalities: tuple[str, ...]
    labels: Labels
    root: Path
    spatial_dims: int
    scanned: bool = False

    def case(self, case_id: str) -> Case:
        """The case of that id; raises `UserError` where there is none."""
        for case in self.cases:
            if case.id == case_id:
                return case
        raise UserError(
            self.name, f"has no case {case_id!r}", f"its {len(self.cases)} cases are in {self.root}"
        )

    def without_labels(self, ids: Collection[str]) -> Cohort:
        """The same cohort in which the cases of ``ids`` have no reference: it cannot be read by accident."""
        hidden = set(ids)
        cases = (replace(case, label=None, raters={}) if case.id in hidden else case for case in self.cases)
        return replace(self, cases=tuple(cases))

    def subject(self, case: Case) -> tio.Subject:
        """The case as TorchIO knows it; voxels are read on first use, through medseg's own readers.

        The images are named by their modality, the label (codes) ``label``; the id is under ``case``.
        """
        import torchio as tio

        parts: dict[str, Any] = {"case": case.id, "patient": case.patient}
        for modality in self.modalities:
            if (path := case.images.get(modality)) is not None:
                component = case.components.get(modality)
                parts[modality] = tio.ScalarImage(path, reader=partial(_modality_tensor, component=component))
        if (source := case.label or next(iter(case.raters.values()), None)) is not None:
            reader = partial(_label_tensor, case=case, labels=self.labels)
            parts["label"] = tio.LabelMap(source, reader=reader)
        return tio.Subject(parts)


def read_modality(case: Case, modality: str) -> Volume:
    """The volume ``(W, H, D)`` of one modality.

    Raises:
        UserError: the case lacks it, or its file is unusable.
    """
    if modality not in case.images:
        there = ", ".join(case.images) or "none"
        raise UserError(case.id, f"has no modality {modality!r}", f"it has {there}")
    return read_volume(case.images[modality], case.components.get(modality))


def read_label(case: Case, labels: Labels) -> Volume | None:
    """The reference as codes ``(W, H, D)`` uint8 (see `Labels`), or ``None`` for an unlabelled case.

    It is the label file, or else the raters' majority (`medseg.data.labels.majority`).

    Raises:
        UserError: a file is unusable, holds fractions or undeclared values, or the raters' grids differ.
    """
    if case.label is not None:
        return _codes(case.label, labels)
    opinions = read_raters(case, labels)
    if not opinions:
        return None
    name, first = next(iter(opinions.items()))
    for rater, opinion in opinions.items():
        if difference := grid_difference(first, opinion):
            problem = f"{difference} than in {case.raters[name]}, another rater's label"
            raise UserError(str(case.raters[rater]), problem, "bring the raters' labels to one grid")
    return replace(first, array=majority([opinion.array for opinion in opinions.values()]))


def read_raters(case: Case, labels: Labels) -> dict[str, Volume]:
    """Each rater's label as codes ``(W, H, D)`` uint8."""
    return {rater: _codes(path, labels) for rater, path in case.raters.items()}


def _codes(path: Path, labels: Labels) -> Volume:
    volume = read_volume(path)
    return replace(volume, array=encode(volume.array, labels, str(path)))


def _modality_tensor(path: Path, component: int | None) -> tuple[Any, Any]:
    """What TorchIO's ``reader`` returns: ``(1, W, H, D)`` float32 and the affine."""
    import numpy as np
    import torch

    volume = read_volume(path, component)
    return torch.from_numpy(np.ascontiguousarray(volume.array, dtype=np.float32)[None]), volume.affine


def _label_tensor(path: Path, case: Case, labels: Labels) -> tuple[Any, Any]:
    import numpy as np
    import torch

    volume = read_label(case, labels)
    if volume is None:  # the reader is only attached to labelled cases
        raise UserError(str(path), "is no label", "")
    return torch.from_numpy(np.ascontiguousarray(volume.array)[None]), volume.affine
