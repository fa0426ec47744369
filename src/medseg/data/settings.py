"""What a user may say about data, splits and the plan. Standard library only: the check reads this first."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class DataSettings:
    """Which scans there are and what their labels mean; ``root`` alone is enough for a known layout.

    Attributes:
        name: the cohort's name, used for folders, tables and the model bundle.
        root: the folder of scans.
        layout: how the folder is arranged; ``auto`` looks.
        modalities: their names in order; ``None`` takes the layout's own.
        labels: class name -> value(s) in the label files; exclusive classes.
        regions: region name -> values, outermost first; regions may overlap (BraTS style).
        ignore: the label value that no loss and no metric may look at.
        table: the table's path, relative to ``root``; ``None`` looks for ``cases.csv`` or ``cases.parquet``.
        patterns: modality -> glob relative to ``root``; ``{id}`` marks the case id, else the first ``*``
            of the last part that has one.
        label_pattern: the glob of the reference labels, with the same rule.
        raters: rater -> glob of that expert's labels.
        reference: where the reference label comes from when there are raters: ``auto`` (the label file,
            else the raters' majority), ``majority``, or a rater's name.
        id_pattern: regular expression on the relative path; group 1 is the case id.
        patient_pattern: regular expression on the case id; group 1 is the patient. ``None``: one each.
        centre_pattern: regular expression on the case id; group 1 is the centre.
        unlabelled_ok: whether cases without a label belong to the cohort.
        source: where a public set comes from: url, sha256, archive, licence, cite, instructions.
        phantom: the fields of the synthetic cohort.
        cache: where stores and generated scans go; default ``$MEDSEG_CACHE`` or ``~/.cache/medseg``.
    """

    name: str = "folder"
    root: str | None = None
    layout: str = "auto"
    modalities: list[str] | None = None
    labels: dict[str, int | list[int]] | None = None
    regions: dict[str, list[int]] | None = None
    ignore: int | None = None
    table: str | None = None
    patterns: dict[str, str] | None = None
    label_pattern: str | None = None
    raters: dict[str, str] | None = None
    reference: str = "auto"
    id_pattern: str | None = None
    patient_pattern: str | None = None
    centre_pattern: str | None = None
    unlabelled_ok: bool = True
    source: dict[str, Any] | None = None
    phantom: dict[str, Any] | None = None
    cache: str | None = None

    @property
    def cache_folder(self) -> Path:
        """Where stores and generated scans go."""
        return Path(self.cache or os.environ.get("MEDSEG_CACHE") or "~/.cache/medseg").expanduser()

    def problems(self) -> list[str]:
        """One line per field that cannot be used."""
        found = []
        if not re.fullmatch(r"[\w.-]+", self.name):
            found.append(f"name: {self.name!r} cannot be a folder's name; use letters, digits, '.', '_', '-'")
        if self.layout not in (known := ("auto", *_layouts())):
            found.append(f"layout: {self.layout!r} is not known; use one of {', '.join(known)}")
        if self.labels and self.regions:
            found.append("regions: labels are given too; keep one of the two")
        if self.modalities is not None and len(set(self.modalities)) != len(self.modalities):
            found.append(f"modalities: {self.modalities} repeats a name; name each once")
        for field in ("id_pattern", "patient_pattern", "centre_pattern"):
            if (pattern := getattr(self, field)) is not None:
                found += _pattern_problems(field, pattern)
        if self.reference not in ("auto", "majority") and self.raters and self.reference not in self.raters:
            found.append(
                f"reference: no rater {self.reference!r}; use auto, majority or one of {[*self.raters]}"
            )
        return found


def _layouts() -> list[str]:
    """The layouts' names, without importing any."""
    return sorted(path.stem for path in (Path(__file__).parent / "layouts").glob("[!_]*.py"))


def _pattern_problems(field: str, pattern: str) -> list[str]:
    try:
        re.compile(pattern)
    except re.error as error:
        return [f"{field}: {pattern!r} is not a regular expression ({error}); mend it"]
    return []


@dataclass(frozen=True)
class SplitSettings:
    """How patients are assigned to folds.

    Attributes:
        folds: number of cross-validation folds of the patients that are not kept for the test.
        test_share: share of patients kept for the test, 0 to 0.9.
        seed: of the assignment, and of the order in which patients are labelled.
        file: a split written before, or lists ``train``, ``val`` (and ``test``) of patients, of which fold 0
            validates ``val``; ``folds`` and ``test_share`` are then ignored.
        stratify_centre: spread each centre evenly over the folds and the labelled, where there are centres.
        labelled: how many of a fold's training patients keep their labels, or which share of them, in (0, 1);
            the others are unlabelled. The fewer are always among the more. ``None``: all, or all of the file.
        labelled_file: the patients in the order in which they are labelled: a text with one a line, a JSON
            list, or a JSON object with the list under ``labelled_order``.
    """

    folds: int = 5
    test_share: float = 0.0
    seed: int = 0
    file: str | None = None
    stratify_centre: bool = True
    labelled: int | float | None = None
    labelled_file: str | None = None

    def problems(self) -> list[str]:
        """One line per field that cannot be used."""
        found = []
        if self.folds < 2:
            found.append(f"folds: {self.folds} leaves nothing to validate on; use 2 or more")
        if not 0 <= self.test_share <= 0.9:
            found.append(f"test_share: {self.test_share} is not a share; use 0 to 0.9")
        if self.seed < 0:
            found.append(f"seed: {self.seed} is negative; use 0 or more")
        share = isinstance(self.labelled, float)
        if self.labelled is not None and not (0 < self.labelled < 1 if share else self.labelled >= 1):
            budget = "give a number of patients from 1, or a share between 0 and 1"
            found.append(f"labelled: {self.labelled} is no label budget; {budget}")
        return found


@dataclass(frozen=True)
class PlanSettings:
    """What the user decides about the plan; ``None`` or ``auto`` leaves it to the fingerprint.

    Attributes:
        spatial_dims: 2, 3 or ``auto``.
        memory_gb: the memory that one training step may use, in GB; ``None`` asks the machine.
        seconds_per_step: the time one training step may take, as estimated; ``None`` is 0.6 s on a CPU and
            no limit on a GPU.
        file: a plan written before (YAML), taken as it is.
        spacing: target voxel size in mm, in store order; 3 numbers (2 for a 2D plan).
        patch_size: voxels per axis, ``spatial_dims`` long.
        batch_size: patches per step.
        width: channels of the first level.
        max_width: channels at most on any level.
        max_levels: levels at most.
        multiple: what each axis of the patch must be a multiple of; a network that needs one raises it.
        slices: neighbouring slices that a 2D network sees of each modality (2.5D), an odd number.
        normalisation: one scheme for all modalities, or modality -> scheme: zscore, ct, percentile,
            histogram, none.
        precision: of training: auto, 32-true, bf16-mixed or 16-mixed.
    """

    spatial_dims: int | str = "auto"
    memory_gb: float | None = None
    seconds_per_step: float | None = None
    file: str | None = None
    spacing: list[float] | None = None
    patch_size: list[int] | None = None
    batch_size: int | None = None
    width: int | None = None
    max_width: int | None = None
    max_levels: int | None = None
    multiple: int = 1
    slices: int = 1
    normalisation: dict[str, str] | str | None = None
    precision: str = "auto"

    def problems(self) -> list[str]:
        """One line per field that cannot be used."""
        found = []
        if self.spatial_dims not in (2, 3, "auto"):
            found.append(f"spatial_dims: {self.spatial_dims!r} is not possible; use 2, 3 or auto")
        if self.precision not in PRECISIONS:
            found.append(f"precision: {self.precision!r} is not known; use one of {', '.join(PRECISIONS)}")
        if self.memory_gb is not None and not self.memory_gb > 0:
            found.append(f"memory_gb: {self.memory_gb} is no memory; give more than 0")
        if self.seconds_per_step is not None and not self.seconds_per_step > 0:
            found.append(f"seconds_per_step: {self.seconds_per_step} is no time; give more than 0")
        if self.spacing is not None and not (
            len(self.spacing) in (2, 3) and all(s > 0 for s in self.spacing)
        ):
            found.append(f"spacing: {self.spacing} must be 2 or 3 positive numbers of mm")
        if self.patch_size is not None and not (
            len(self.patch_size) in (2, 3) and all(n > 0 for n in self.patch_size)
        ):
            found.append(f"patch_size: {self.patch_size} must be 2 or 3 positive numbers of voxels")
        if self.slices < 1 or self.slices % 2 == 0:
            found.append(f"slices: {self.slices} has no middle one; give an odd number from 1")
        if self.slices > 1 and self.spatial_dims == 3:
            found.append(f"slices: {self.slices} neighbours are for 2D; use plan=2d or plan.slices=1")
        if self.multiple >= 1 and _odd_part(self.multiple) > 7:
            found.append(
                f"multiple: {self.multiple} cannot be halved often enough; use 1 to 7 times a power of two"
            )
        for field in ("batch_size", "width", "max_width", "max_levels", "multiple"):
            if (value := getattr(self, field)) is not None and value < 1:
                found.append(f"{field}: {value} is too small; use 1 or more")
        return found


def _odd_part(number: int) -> int:
    """What is left when a number is halved as long as it is even."""
    return number // (number & -number)
