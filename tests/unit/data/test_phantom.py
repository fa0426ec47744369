"""The synthetic cohort: the same bytes each time, all that a cohort may lack, and no threshold solves it."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from skimage.filters import threshold_multiotsu

from medseg.data.cohort import Cohort, read_label, read_modality
from medseg.data.layouts import phantom as layout
from medseg.data.phantom import MARK, PhantomSettings, ensure_phantom, write_phantom
from medseg.data.settings import DataSettings
from medseg.data.source import open_cohort
from medseg.errors import Problems
from medseg.files import file_hash

SMALL = {"cases": 10, "shape": [24, 24, 16], "repeats": 2, "unlabelled": 2, "empty": 1, "missing": 2}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    cache = tmp_path_factory.mktemp("cache")
    return open_cohort(DataSettings(name="phantom", layout="phantom", phantom=SMALL, cache=str(cache)))


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Cohort:
    """Cases as the default cohort has them, only fewer."""
    few = {"cases": 8, "repeats": 2, "unlabelled": 0, "empty": 0, "missing": 0}
    cache = tmp_path_factory.mktemp("cache")
    return open_cohort(DataSettings(name="phantom", layout="phantom", phantom=few, cache=str(cache)))


def test_it_has_what_real_cohorts_have(small: Cohort) -> None:
    assert len(small.cases) == 10
    assert small.modalities == ("t1", "flair")
    assert small.labels.names == ("gland", "lesion", "node")
    assert sorted(Counter(case.patient for case in small.cases).values()) == [1] * 6 + [2] * 2
    assert {case.centre for case in small.cases} == {"A", "B", "C"}
    assert sum(not case.labelled for case in small.cases) == 2
    assert {tuple(case.images) for case in small.cases} == {("t1", "flair"), ("t1",), ("flair",)}
    labels = [label for case in small.cases if (label := read_label(case, small.labels)) is not None]
    assert sum(not label.array.any() for label in labels) == 1


def test_a_patients_cases_share_a_centre(small: Cohort) -> None:
    centres: dict[str, set[str | None]] = {}
    for case in small.cases:
        centres.setdefault(case.patient, set()).add(case.centre)
    assert all(len(found) == 1 for found in centres.values())


def test_grids_are_oblique_anisotropic_and_differ(small: Cohort) -> None:
    volumes = [read_modality(case, next(iter(case.images))) for case in small.cases]
    spacings = np.array([volume.spacing for volume in volumes])
    assert len({volume.array.shape for volume in volumes}) > 1
    assert (np.ptp(spacings, axis=0) > 0).all()
    for volume in volumes:
        axes = volume.affine[:3, :3] / np.array(volume.spacing)
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-6)  # turned, not sheared
        assert np.abs(axes).max() < 1 - 1e-6


def test_label_and_images_lie_on_one_grid(small: Cohort) -> None:
    for case in small.cases:
        files = [nib.load(path) for path in case.files]
        for file in files[1:]:
            assert file.shape == files[0].shape
            np.testing.assert_array_equal(file.affine, files[0].affine)
        assert int(files[0].header["qform_code"]) == int(files[0].header["sform_code"]) == 1


def test_centres_differ_in_intensity(full_size: Cohort) -> None:
    means: dict[str | None, list[float]] = {}
    for case in full_size.cases:
        array = read_modality(case, "t1").array
        means.setdefault(case.centre, []).append(float(np.percentile(array, 60)))
    averages = sorted(float(np.mean(found)) for found in means.values())
    assert averages[1] > 1.3 * averages[0]
    assert averages[2] > 1.3 * averages[1]


def test_the_classes_are_there_and_the_node_is_small(full_size: Cohort) -> None:
    counts = np.array([np.bincount(_label(full_size, k).ravel(), minlength=4)[1:] for k in range(8)])
    assert (counts.min(axis=0) > 20).all()
    assert counts[:, 2].mean() < 0.4 * counts[:, 0].mean()
    assert counts[:, 2].mean() < 0.005 * _label(full_size, 0).size


def test_each_modality_shows_what_the_other_does_not(full_size: Cohort) -> None:
    seen = np.array(
        [[_contrast(full_size, k, m, c) for m in ("t1", "flair") for c in (1, 2)] for k in range(8)]
    )
    gland_t1, lesion_t1, gland_flair, lesion_flair = seen.mean(axis=0)
    assert gland_t1 > 1.5
    assert lesion_flair > 1.5
    assert abs(gland_flair) < 0.5
    # In t1 the lesion is as bright as the gland it sits in.
    assert abs(lesion_t1 - gland_t1) < 0.5


def _label(cohort: Cohort, number: int) -> np.ndarray:
    label = read_label(cohort.cases[number], cohort.labels)
    assert label is not None
    return label.array


def _contrast(cohort: Cohort, number: int, modality: str, code: int) -> float:
    """How far the class's mean lies from the tissue around it, in the tissue's standard deviations."""
    from scipy.ndimage import binary_dilation

    label = _label(cohort, number)
    array = read_modality(cohort.cases[number], modality).array.astype(float)
    around = binary_dilation(label > 0, iterations=2) & (label == 0)
    tissue = array[around]
    return float((array[label == code].mean() - np.median(tissue)) / tissue.std())


def test_no_otsu_threshold_finds_the_foreground(full_size: Cohort) -> None:
    """Even the best choice of levels by someone who knows the answer, per case and modality."""
    for modality in full_size.modalities:
        best = [_best_otsu(full_size, number, modality) for number in range(8)]
        assert np.mean(best) < 0.5


def _best_otsu(cohort: Cohort, number: int, modality: str) -> float:
    truth = _label(cohort, number) > 0
    array = read_modality(cohort.cases[number], modality).array.astype(np.float32)
    scores = []
    for classes in (2, 3, 4):
        # Floats, because integers get a bin each and the search grows with bins to the power of classes.
        bins = {2: 256, 3: 256, 4: 96}[classes]
        levels = np.digitize(array, threshold_multiotsu(array, classes=classes, nbins=bins))
        for size in range(1, classes):
            for chosen in itertools.combinations(range(classes), size):
                guess = np.isin(levels, chosen)
                scores.append(2 * (guess & truth).sum() / (guess.sum() + truth.sum()))
    return float(max(scores))


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    settings = PhantomSettings(cases=3, shape=(20, 20, 16), repeats=0, unlabelled=0, empty=1, missing=1)
    for name in ("first", "second"):
        write_phantom(settings, tmp_path / name)
    hashes = [
        {path.relative_to(root): file_hash(path) for path in sorted(root.rglob("*")) if path.is_file()}
        for root in (tmp_path / "first", tmp_path / "second")
    ]
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 2 * 3 - 1 + 3 + 2


def test_another_seed_gives_other_scans(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_phantom(PhantomSettings(1, seed, (20, 20, 16), 1, 0, 0, 0, 0), tmp_path / str(seed))
    first, second = (file_hash(tmp_path / seed / "images/phantom_000_t1.nii.gz") for seed in "01")
    assert first != second


def test_it_is_made_once_and_kept(small: Cohort) -> None:
    settings = PhantomSettings.parse(SMALL)
    before = (small.root / MARK).stat().st_mtime_ns
    assert ensure_phantom(settings, small.root.parent) == small.root
    assert (small.root / MARK).stat().st_mtime_ns == before
    assert [path.name for path in small.root.parent.iterdir()] == [settings.key]


def test_an_interrupted_generation_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", full_disk)
    with pytest.raises(OSError, match="No space"):
        ensure_phantom(PhantomSettings(cases=1, repeats=0, unlabelled=0, empty=0, missing=0), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_its_folder_is_recognised_as_a_root(small: Cohort) -> None:
    assert layout.recognises(small.root)
    again = open_cohort(DataSettings(root=str(small.root)))
    assert again.cases == small.cases
    assert again.labels == small.labels


def test_one_modality_can_be_chosen(small: Cohort) -> None:
    told = DataSettings(name="phantom", root=str(small.root), modalities=["flair"])
    cohort = open_cohort(told)
    assert cohort.modalities == ("flair",)


def test_all_wrong_settings_are_named_at_once() -> None:
    with pytest.raises(Problems) as caught:
        PhantomSettings.parse({"casse": 3, "seed": "x", "shape": [3.5, 2, 1]})
    assert len(caught.value.lines) == 3
    with pytest.raises(Problems) as caught:
        PhantomSettings.parse({"cases": 2, "seed": -1, "shape": [8, 8, 8], "centres": 9, "repeats": 4})
    text = str(caught.value)
    assert all(
        f"data.phantom.{name}" in text for name in ("seed", "shape", "centres", "repeats", "unlabelled")
    )
