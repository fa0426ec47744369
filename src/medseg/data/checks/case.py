"""One case, every file of it read once: what is wrong, and the facts that the summary is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from medseg.contracts import Labels
from medseg.data.checks.finding import Finding
from medseg.data.checks.grids import Grid, grid_finding
from medseg.data.checks.reading import BROKEN, read
from medseg.data.checks.values import label_values
from medseg.data.checks.voxels import content, voxel_findings
from medseg.data.cohort import Case
from medseg.data.formats import voxel_size


@dataclass
class CaseFacts:
    """What one pass over a case has shown.

    Attributes:
        id: of the case.
        findings: what is wrong within the case.
        hashes: modality -> hash of the voxels; without constant images, which are alike by nature.
        shape: ``(W, H, D)`` of the first image that can be read.
        spacing: its voxel size in mm.
        volumes: class or region -> ml in the reference, the mean over raters; empty where there is none.
        empty: whether the reference has no foreground at all; ``None`` where none could be read.
    """

    id: str
    findings: list[Finding] = field(default_factory=list)
    hashes: dict[str, str] = field(default_factory=dict)
    shape: tuple[int, ...] | None = None
    spacing: tuple[float, float, float] | None = None
    volumes: dict[str, float] = field(default_factory=dict)
    empty: bool | None = None


def look(case: Case, labels: Labels, spatial_dims: int) -> CaseFacts:
    """Reads a case; never raises over its files."""
    facts = CaseFacts(case.id)
    try:
        reference = _images(case, facts, spatial_dims)
        _references(case, labels, facts, reference, spatial_dims)
    except BROKEN as error:
        problem = f"cannot be checked ({type(error).__name__}: {error})"
        where = str(next(iter(case.files), case.id))
        fix = "replace the files of the case"
        facts.findings.append(Finding(where, "file", problem, fix, "error", "corrupt-file", (case.id,)))
    return facts


def _images(case: Case, facts: CaseFacts, spatial_dims: int) -> Grid | None:
    """Looks at every image; the grid of the first that can be read, which the others must lie on."""
    reference: Grid | None = None
    told: set[Finding] = set()
    for modality, path in case.images.items():
        volume, found = read(path, case.components.get(modality), case.id, spatial_dims)
        # The modalities of one 4D file share its faults.
        facts.findings += [finding for finding in found if finding not in told]
        told.update(found)
        if volume is None:
            continue
        name = f"image {modality}"
        inside = content(volume.array)
        facts.findings += voxel_findings(str(path), name, inside, case.id)
        if not inside.constant:
            facts.hashes[modality] = inside.hash
        grid = Grid.of(str(path), name, volume)
        if reference is None:
            reference, facts.shape, facts.spacing = grid, grid.shape, volume.spacing
        elif finding := grid_finding(grid, reference, case.id, "modality"):
            facts.findings.append(finding)
    return reference


def _references(
    case: Case, labels: Labels, facts: CaseFacts, reference: Grid | None, spatial_dims: int
) -> None:
    """Looks at the label, or at every rater's."""
    counted = []
    for name, path, grid_of in _label_files(case, reference):
        volume, found = read(path, None, case.id, spatial_dims)
        facts.findings += found
        if volume is None:
            continue
        counts, wrong = label_values(volume.array, str(path), labels, case.id)
        facts.findings += wrong
        grid = Grid.of(str(path), name, volume)
        if grid_of and (finding := grid_finding(grid, grid_of, case.id, "label")):
            facts.findings.append(finding)
        if not wrong:
            ml = float(np.prod(voxel_size(volume.affine))) / 1000
            counted.append((counts, ml))
    if counted:
        facts.volumes = _volumes(counted, labels)
        facts.empty = not any(facts.volumes.values())


def _label_files(case: Case, reference: Grid | None) -> Iterator[tuple[str, Path, Grid | None]]:
    if case.label is not None:
        yield "the label", case.label, reference
    for rater, path in case.raters.items():
        if path != case.label:
            yield f"the label of rater {rater}", path, reference


def _volumes(counted: list[tuple[dict[int, int], float]], labels: Labels) -> dict[str, float]:
    """Class or region -> ml, the mean over the label files."""
    return {
        name: sum(ml * sum(counts.get(value, 0) for value in row) for counts, ml in counted) / len(counted)
        for name, row in zip(labels.names, labels.values, strict=True)
    }
