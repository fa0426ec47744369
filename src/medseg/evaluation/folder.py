"""A folder of predictions scored against a cohort's references, case by case."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from medseg.data.machine import usable_cores
from medseg.errors import Problems, UserError
from medseg.evaluation import probabilities
from medseg.evaluation.calibration import Reliability, label_reliabilities
from medseg.evaluation.cases import Row
from medseg.evaluation.metrics import METRICS
from medseg.evaluation.reliability_file import SUFFIX as RELIABILITY
from medseg.evaluation.reliability_file import write_reliability
from medseg.evaluation.score import score_case
from medseg.evaluation.settings import EvaluationSettings

if TYPE_CHECKING:
    from medseg.contracts import Labels
    from medseg.data.cohort import Case, Cohort
    from medseg.data.formats import Volume

_VOLUMES = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd", ".gipl.gz", ".gipl")
_PICTURES = (".png", ".tif", ".tiff", ".bmp", ".gif", ".jpg", ".jpeg")


def evaluate_predictions(
    cohort: Cohort,
    cases: Sequence[Case],
    predictions: Path,
    settings: EvaluationSettings | None = None,
    part: str = "",
    *,
    seen: Callable[[str], bool] | None = None,
    on_case: Callable[[str], None] | None = None,
) -> list[Row]:
    """Scores the label files ``predictions/<case id>.<any image suffix>`` on each case's original grid.

    Where ``<case id>_probabilities.npz`` lies beside one, there are rows of calibration too, and its
    ``<case id>_reliability.csv`` is written.

    Args:
        cohort: whose labels say what the values mean.
        cases: the cases to score; each needs a reference label and a prediction.
        predictions: the folder of label files, in file values as the cohort's own.
        settings: metrics, tolerance, workers.
        part: the name of this set of cases, as ``test``.
        seen: whether the model was trained on a patient; such a case is refused.
        on_case: called with the id of each case that is done, for a progress bar.

    Returns:
        The rows of all cases, in the order of ``cases``.

    Raises:
        UserError: predictions or references are missing, a grid differs, or a patient was trained on.
    """
    settings = settings or EvaluationSettings()
    files = find_predictions(predictions, [case.id for case in cases])
    _refuse(cases, seen)

    def one(case: Case) -> list[Row]:
        rows = _score(cohort, case, files[case.id], settings, part)
        if on_case:
            on_case(case.id)
        return rows

    # Threads: unpacking, counting and the distance queries all leave the interpreter free.
    with ThreadPoolExecutor(settings.workers or usable_cores()) as pool:
        return [row for rows in pool.map(one, cases) for row in rows]


def find_predictions(folder: Path, ids: Collection[str]) -> dict[str, Path]:
    """The label file of every case id.

    Raises:
        Problems: all cases without a file or with several, one line each.
    """
    found = label_files(folder)
    problems = [
        f"{folder / case}.*: there is no prediction of this case; predict it first"
        for case in ids
        if case not in found
    ]
    problems += [
        f"{found[case][1]}: a second prediction of one case, beside {found[case][0].name}; remove one"
        for case in ids
        if len(found.get(case, ())) > 1
    ]
    if problems:
        raise Problems(problems)
    return {case: found[case][0] for case in ids}


def label_files(folder: Path) -> dict[str, list[Path]]:
    """The image files in a folder by their names without suffix.

    Raises:
        UserError: it is no folder.
    """
    if not folder.is_dir():
        raise UserError(str(folder), "is not a folder of predictions", "run `medseg predict` first")
    found: dict[str, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        suffix = max(
            (s for s in _VOLUMES + _PICTURES if path.name.lower().endswith(s)), key=len, default=None
        )
        if suffix and path.is_file():
            found.setdefault(path.name[: -len(suffix)], []).append(path)
    return found


def _refuse(cases: Sequence[Case], seen: Callable[[str], bool] | None) -> None:
    problems = [f"{case.id}: has no reference label; leave it out" for case in cases if not case.labelled]
    problems += [
        f"{case.id}: the model was trained on its patient {case.patient}; score it on others"
        for case in cases
        if seen and seen(case.patient)
    ]
    if problems:
        raise Problems(problems)


def _score(cohort: Cohort, case: Case, file: Path, settings: EvaluationSettings, part: str) -> list[Row]:
    from medseg.data.cohort import read_label

    reference, prediction = read_label(case, cohort.labels), read_prediction(file, cohort.labels)
    if reference is None:
        raise UserError(case.id, "has no reference label", "leave it out")
    require_same_grid(file, prediction, reference)
    return score_case(
        reference.array,
        prediction.array,
        cohort.labels,
        spacing_of(reference.affine),
        settings,
        case=case.id,
        patient=case.patient,
        centre=case.centre,
        part=part,
        reliabilities=_reliabilities(file.parent, case.id, reference, cohort.labels, settings),
    )


def _reliabilities(
    folder: Path, case: str, reference: Volume, labels: Labels, settings: EvaluationSettings
) -> list[Reliability | None] | None:
    """Of the probabilities beside a prediction, if there are any and they are asked about."""
    file = folder / (case + probabilities.SUFFIX)
    wanted = any(METRICS[name].family == "calibration" for name in settings.chosen)
    if not wanted or not file.is_file():
        return None
    channels = probabilities.read_channels(file, reference.array.shape, labels)
    spacing = spacing_of(reference.affine)
    found = label_reliabilities(channels, reference.array, labels, spacing, settings)
    write_reliability(folder / (case + RELIABILITY), labels.names, found)
    return found


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """mm per axis: the lengths of the affine's columns, which hold where a header's numbers do not."""
    width, height, depth = (float(step) for step in np.linalg.norm(affine[:3, :3], axis=0))
    return width, height, depth


def read_prediction(file: Path, labels: Labels) -> Volume:
    """A predicted label file as codes ``(W, H, D)`` uint8.

    Raises:
        UserError: the file is unusable or holds values that are not declared.
    """
    from medseg.data.formats import read_volume
    from medseg.data.labels import encode

    volume = read_volume(file)
    return replace(volume, array=encode(volume.array, labels, str(file)))


def require_same_grid(file: Path, prediction: Volume, reference: Volume) -> None:
    """Refuses a prediction whose voxels do not lie on the reference's.

    Corners may differ by a tenth of the smallest voxel edge: headers round.
    """
    fix = "predict on the case's original grid"
    shape, expected = prediction.array.shape, reference.array.shape
    if shape != expected:
        raise UserError(str(file), f"its grid is {shape} voxels, the reference's {expected}", fix)
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    apart = prediction.affine - reference.affine
    worst = float(np.linalg.norm(apart[:3, :3] @ corners + apart[:3, 3:], axis=0).max())
    if not worst <= 0.1 * min(spacing_of(reference.affine)):
        problem = f"its voxels lie up to {worst:.3g} mm beside the reference's (another affine)"
        raise UserError(str(file), problem, fix)
