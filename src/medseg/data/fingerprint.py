"""What a cohort looks like: grids, intensities, class sizes. Made of training cases only."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from medseg.contracts import IGNORE, Labels
from medseg.data.geometry import grid_difference, nonzero_box, orientation_code, store_turn, turn
from medseg.data.parallel import for_each
from medseg.errors import UserError
from medseg.files import value_hash, write_json

if TYPE_CHECKING:
    from medseg.data.cohort import Case, Cohort

PERCENTILES = (0.5, 1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0, 99.5)
SAMPLES_PER_CASE = 10_000
SAMPLES = 2_000_000
"""Foreground intensities kept per modality over all cases, so that memory does not grow with the cohort."""


CURVE_VOXELS = 500_000
"""Voxels of an image, evenly spread, that its percentiles are taken of."""


@dataclass(frozen=True)
class ImageFacts:
    """One modality of one case: its intensities at `PERCENTILES`, over all and over nonzero voxels.

    ``zeros`` is the share of voxels of value 0 in the cropped image.
    """

    curve: tuple[float, ...]
    nonzero_curve: tuple[float, ...]
    zeros: float


@dataclass(frozen=True)
class CaseFacts:
    """One case, axes in canonical (RAS+) order.

    ``shape`` and ``cropped`` in voxels, ``spacing`` in mm, ``orientation`` as the file has it (``"LPS"``),
    ``voxels`` code -> count or ``None`` without a label, ``images`` modality -> facts for those present,
    ``background`` the voxels that are labelled as such, neither a class nor ignored.
    """

    id: str
    centre: str | None
    shape: tuple[int, int, int]
    cropped: tuple[int, int, int]
    spacing: tuple[float, float, float]
    orientation: str
    voxels: Mapping[str, int] | None
    images: Mapping[str, ImageFacts]
    background: int | None = None


@dataclass(frozen=True)
class Foreground:
    """Intensities inside the classes, pooled over cases; mean and std after clipping to the two ends."""

    count: int
    p0_5: float
    median: float
    p99_5: float
    mean: float
    std: float


@dataclass(frozen=True)
class Fingerprint:
    """What a plan is derived from.

    Attributes:
        cohort: its name.
        spatial_dims: 3, or 2 for a cohort of pictures.
        modalities: in order.
        cases: one entry each.
        foreground: modality -> pooled intensities, for modalities that some labelled case has.
    """

    cohort: str
    spatial_dims: int
    modalities: tuple[str, ...]
    cases: tuple[CaseFacts, ...]
    foreground: Mapping[str, Foreground]

    @property
    def hash(self) -> str:
        """The SHA-256 of the content."""
        return value_hash(self.to_dict())

    @property
    def missing(self) -> dict[str, int]:
        """Modality -> cases that lack it."""
        return {m: sum(m not in case.images for case in self.cases) for m in self.modalities}

    @property
    def centres(self) -> dict[str, int]:
        """Centre -> cases; empty where no centre is known."""
        return dict(sorted(Counter(case.centre for case in self.cases if case.centre is not None).items()))

    @property
    def orientations(self) -> dict[str, int]:
        """Orientation code -> cases."""
        return dict(sorted(Counter(case.orientation for case in self.cases).items()))

    def class_sizes(self) -> dict[int, dict[str, float]]:
        """Code -> cases that have it, median volume in mm3 and in voxels where it is there."""
        sizes: dict[int, list[tuple[int, float]]] = {}
        for case in self.cases:
            for code, count in (case.voxels or {}).items():
                sizes.setdefault(int(code), []).append((count, count * float(np.prod(case.spacing))))
        return {
            code: {
                "cases": len(found),
                "median_voxels": float(np.median([voxels for voxels, _ in found])),
                "median_mm3": float(np.median([volume for _, volume in found])),
            }
            for code, found in sorted(sizes.items())
        }

    def class_voxels(self) -> dict[int, int]:
        """Code -> voxels over all labelled cases, 0 for the background; ignored voxels are not counted."""
        found: Counter[int] = Counter()
        for case in self.cases:
            if case.voxels is not None:
                found.update({0: case.background or 0, **{int(c): n for c, n in case.voxels.items()}})
        return dict(sorted(found.items()))

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        found: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return found

    def save(self, path: Path) -> None:
        """Writes it as JSON, its hash and the derived counts beside it."""
        derived = {
            "missing": self.missing,
            "centres": self.centres,
            "orientations": self.orientations,
            "class_sizes": {str(code): facts for code, facts in self.class_sizes().items()},
        }
        write_json(path, {**self.to_dict(), "derived": derived, "hash": self.hash})

    @classmethod
    def load(cls, path: Path) -> Fingerprint:
        """Reads a fingerprint.

        Raises:
            UserError: it is not one, or was edited.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            stated = found.pop("hash")
            found.pop("derived")
            fingerprint = cls._from_dict(found)
        except OSError as error:
            problem = f"cannot be read ({error.strerror})"
            raise UserError(str(path), problem, "give the path of a fingerprint") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise UserError(str(path), "is not a fingerprint", "make it again") from None
        if fingerprint.hash != stated:
            raise UserError(str(path), "its content does not match its hash", "make it again")
        return fingerprint

    @classmethod
    def _from_dict(cls, found: dict[str, Any]) -> Fingerprint:
        cases = []
        for case in found["cases"]:
            images = {
                m: ImageFacts(tuple(i["curve"]), tuple(i["nonzero_curve"]), i["zeros"])
                for m, i in case["images"].items()
            }
            triples = {key: tuple(case[key]) for key in ("shape", "cropped", "spacing")}
            cases.append(CaseFacts(**{**case, **triples, "images": images}))
        foreground = {m: Foreground(**facts) for m, facts in found["foreground"].items()}
        rest = {"modalities": tuple(found["modalities"]), "cases": tuple(cases), "foreground": foreground}
        return cls(**{**found, **rest})


def fingerprint(cohort: Cohort, cases: Sequence[Case], workers: int = 1, seed: int = 0) -> Fingerprint:
    """Looks at ``cases`` of a cohort, which should be training cases.

    Args:
        cohort: for its modalities and labels.
        cases: whose images, and labels where there are any, are read.
        workers: processes.
        seed: of the sampling of foreground intensities; the result does not depend on ``workers``.

    Raises:
        UserError: there is no case.
        Problems: files that cannot be read.
    """
    if not cases:
        raise UserError("cohort", f"{cohort.name} has no training case to look at", "check the split")
    samples = max(100, min(SAMPLES_PER_CASE, SAMPLES // len(cases)))
    look = partial(look_at, modalities=cohort.modalities, labels=cohort.labels, samples=samples, seed=seed)
    found = for_each(look, list(cases), workers, "Looking at the cohort")
    pooled = {
        m: np.concatenate([sample[m] for _, sample in found if m in sample] or [np.empty(0)])
        for m in cohort.modalities
    }
    foreground = {m: _foreground(values) for m, values in pooled.items() if values.size}
    facts = tuple(case_facts for case_facts, _ in found)
    return Fingerprint(cohort.name, cohort.spatial_dims, tuple(cohort.modalities), facts, foreground)


def look_at(
    case: Case, modalities: Sequence[str], labels: Labels, samples: int, seed: int
) -> tuple[CaseFacts, dict[str, NDArray[np.float64]]]:
    """The facts of one case and a sample of its foreground intensities per modality."""
    from medseg.data.cohort import read_label, read_modality

    volumes = {m: read_modality(case, m) for m in modalities if m in case.images}
    if not volumes:
        raise UserError(case.id, "the case has no modality at all", "leave it out of the cohort")
    label = read_label(case, labels)
    first = next(iter(volumes.values()))
    for name, volume in {**volumes, **({} if label is None else {"label": label})}.items():
        if difference := grid_difference(first, volume):
            problem = f"{difference} than in {next(iter(volumes))}"
            raise UserError(f"{case.id}, {name}", problem, "resample one onto the other")
    permutation, flips = store_turn(first.affine, (0, 1, 2), case.id)
    turned = {m: turn(volume.array, permutation, flips) for m, volume in volumes.items()}
    box = nonzero_box(list(turned.values()))
    inside = tuple(slice(start, stop) for start, stop in box)
    images = {m: _image_facts(array[inside], f"{case.id}, {m}") for m, array in turned.items()}
    i, j, k = (first.spacing[axis] for axis in permutation)
    w, h, d = turned[next(iter(turned))].shape
    cw, ch, cd = (stop - start for start, stop in box)
    counts = None if label is None else np.bincount(label.array.ravel().astype(np.int64), minlength=256)
    voxels = background = None
    sample: dict[str, NDArray[np.float64]] = {}
    if label is not None and counts is not None:
        background = int(counts[0])
        voxels = {str(c): int(counts[c]) for c in range(1, len(counts)) if counts[c] and c != IGNORE}
        codes = turn(label.array, permutation, flips)
        sample = _sample(turned, (codes != 0) & (codes != IGNORE), samples, [seed, _number(case.id)])
    code = orientation_code(first.affine, case.id)
    shapes = (w, h, d), (cw, ch, cd), (i, j, k)
    return CaseFacts(case.id, case.centre, *shapes, code, voxels, images, background), sample


def _number(name: str) -> int:
    return int(value_hash(name)[:12], 16)


def _sample(
    images: Mapping[str, NDArray[Any]], inside: NDArray[np.bool_], most: int, seed: Sequence[int]
) -> dict[str, NDArray[np.float64]]:
    where = np.flatnonzero(inside)
    if len(where) > most:
        where = np.random.Generator(np.random.Philox(np.random.SeedSequence(seed))).choice(where, most, False)
    index = np.unravel_index(where, inside.shape)
    return {m: array[index].astype(np.float64) for m, array in images.items()} if len(where) else {}


def _image_facts(array: NDArray[Any], where: str) -> ImageFacts:
    values = array.astype(np.float32).ravel()
    if not np.isfinite(values).all():
        raise UserError(where, "has NaN or infinite voxels", "mend the file or leave the case out")
    # An odd step walks through all columns of the usual even grids.
    values = values[:: max(1, values.size // CURVE_VOXELS) | 1]
    inside = values[values != 0]
    curves = [np.percentile(part, PERCENTILES) for part in (values, inside if inside.size else values)]
    curve, nonzero = (tuple(float(f"{value:.6g}") for value in row) for row in curves)
    return ImageFacts(curve, nonzero, round(1 - inside.size / values.size, 6))


def _foreground(values: NDArray[np.float64]) -> Foreground:
    low, median, high = np.percentile(values, [0.5, 50, 99.5])
    clipped = np.clip(values, low, high)
    numbers = (float(f"{v:.6g}") for v in (low, median, high, clipped.mean(), clipped.std()))
    return Foreground(len(values), *numbers)
