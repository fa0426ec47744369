"""The mean field against all pairs of voxels, one by one, and what it does to a prediction."""

import numpy as np
import pytest

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.postprocess.decide import decided
from medseg.postprocess.dense_crf import DenseCRF, scaled
from medseg.postprocess.kernels import MOST, axis_factor, intensity_features
from medseg.postprocess.mean_field import LEAST, MeanField
from medseg.postprocess.segmented import Segmented

ORGAN = Labels(("organ",), ((1,),))
NESTED = Labels(("whole", "core"), ((1, 2), (2,)), overlapping=True)


def all_pairs(probabilities, image, spacing, iterations, distance, intensity, smooth, weights):
    """Krähenbühl and Koltun's algorithm 1 with explicit matrices between all voxels."""
    shape = image.shape[1:]
    places = np.stack(
        np.meshgrid(*(np.arange(n) * s for n, s in zip(shape, spacing, strict=True)), indexing="ij")
    )
    places = places.reshape(3, -1).T.astype(np.float64)
    values = image.reshape(len(image), -1).T.astype(np.float64)
    apart = ((places[:, None] - places[None]) ** 2).sum(-1)
    unlike = ((values[:, None] - values[None]) ** 2).sum(-1)
    kernels = []
    for weight, kernel in zip(
        weights,
        (
            np.exp(-apart / (2 * distance**2) - unlike / (2 * intensity**2)),
            np.exp(-apart / (2 * smooth**2)),
        ),
        strict=True,
    ):
        norm = 1 / np.sqrt(kernel.sum(1))
        normal = norm[:, None] * kernel * norm
        np.fill_diagonal(normal, 0)
        kernels.append(weight * normal)
    unary = np.log(np.clip(probabilities.reshape(len(probabilities), -1), LEAST, 1)).astype(np.float64)
    belief = np.exp(unary) / np.exp(unary).sum(0)
    for _ in range(iterations):
        # Potts: what costs is every other label, which is a constant less this one.
        said = unary + sum(belief @ kernel for kernel in kernels)
        belief = np.exp(said - said.max(0)) / np.exp(said - said.max(0)).sum(0)
    return belief.reshape(probabilities.shape)


def noisy(shape, classes=2, modalities=1, seed=0):
    rng = np.random.Generator(np.random.Philox(seed))
    scores = rng.normal(size=(classes, *shape))
    tissue = rng.uniform(size=(modalities, 4))[:, rng.integers(4, size=shape)]
    image = (tissue + rng.normal(0, 0.05, size=tissue.shape)).astype(np.float32)
    probabilities = np.exp(scores) / np.exp(scores).sum(0)
    return probabilities.astype(np.float32), image


@pytest.mark.parametrize(
    ("shape", "spacing"),
    [((14, 13, 1), (1.0, 1.0, 1.0)), ((9, 8, 6), (1.0, 0.7, 2.5)), ((40, 3, 5), (0.4, 0.4, 3.0))],
)
@pytest.mark.parametrize("modalities", [1, 2, 4])
def test_it_is_the_algorithm_on_all_pairs(shape, spacing, modalities):
    probabilities, image = noisy(shape, 3, modalities)
    numbers = {"distance": 3.0, "intensity": 0.15, "smooth": 1.2, "weights": (2.0, 1.0)}
    expected = all_pairs(probabilities, image, spacing, 5, **numbers)
    found = MeanField(image, spacing, **numbers).run(probabilities, 5)
    assert np.abs(found - expected).max() < 5e-3
    assert np.abs(found - probabilities).max() > 0.1


@pytest.mark.parametrize(
    ("voxels", "step", "width"), [(1, 1.0, 3.0), (60, 1.0, 8.0), (33, 0.5, 9.0), (20, 3.0, 1.0)]
)
def test_the_kernel_along_an_axis(voxels, step, width):
    factor = axis_factor(voxels, step, width)
    place = np.arange(voxels) * step
    np.testing.assert_allclose(
        factor @ factor.T, np.exp(-((place[:, None] - place) ** 2) / 2 / width**2), atol=2e-4
    )
    assert factor.shape[1] <= voxels or voxels < 8


@pytest.mark.parametrize("modalities", [1, 2])
def test_the_kernel_between_intensities(modalities):
    rng = np.random.Generator(np.random.Philox(2))
    tissue = rng.uniform(0, 10, size=(4, modalities))[rng.integers(4, size=3000)]
    values = (tissue + rng.normal(0, 0.5, size=tissue.shape)).astype(np.float32)
    features = intensity_features(values)
    some = rng.integers(len(values), size=400)
    kernel = np.exp(-((values[some, None] - values[None, some]) ** 2).sum(-1) / 2)
    error = np.abs(features[some] @ features[some].T - kernel).max()
    assert error < {1: 2e-3, 2: 5e-3}[modalities]
    assert features.shape[1] <= {1: 20, 2: MOST}[modalities]


def smooth_image(shape=(40, 36, 1)):
    """A bright disc, and a network that is unsure where it ends."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in shape[:2]), indexing="ij"), -1)
    disc = np.linalg.norm(grid - np.array(shape[:2]) / 2, axis=-1)[..., None] < 10
    rng = np.random.Generator(np.random.Philox(3))
    image = (100 + 80 * disc + rng.normal(0, 8, shape)).astype(np.float32)[None]
    score = np.where(disc, 0.6, -0.6) + rng.normal(0, 0.9, shape)
    foreground = 1 / (1 + np.exp(-score))
    return disc, image, np.stack([1 - foreground, foreground]).astype(np.float32)


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


def test_noise_goes_and_the_border_stays():
    disc, image, probabilities = smooth_image()
    case = Segmented(decided(probabilities, ORGAN), (1.0, 1.0, 1.0), probabilities, image)
    after = DenseCRF(ORGAN)(case)
    assert dice(case.codes == 1, disc) < 0.8
    assert dice(after.codes == 1, disc) > 0.97
    np.testing.assert_allclose(after.probabilities.sum(0), 1, atol=1e-5)
    np.testing.assert_array_equal(case.probabilities, smooth_image()[2])


def test_without_weights_nothing_changes():
    _, image, probabilities = smooth_image()
    case = Segmented(decided(probabilities, ORGAN), (1.0, 1.0, 1.0), probabilities, image)
    after = DenseCRF(ORGAN, appearance_weight=0.0, smoothness_weight=0.0)(case)
    np.testing.assert_array_equal(after.codes, case.codes)
    np.testing.assert_allclose(after.probabilities, probabilities, atol=1e-6)


def test_regions_are_treated_one_by_one_and_stay_nested():
    disc, image, probabilities = smooth_image()
    inner = probabilities[1] * disc
    regions = np.stack([probabilities[1], inner]).astype(np.float32)
    case = Segmented(decided(regions, NESTED), (1.0, 1.0, 1.0), regions, image)
    after = DenseCRF(NESTED)(case)
    alone = DenseCRF(ORGAN)(Segmented(case.codes, case.spacing, probabilities, image))
    np.testing.assert_allclose(after.probabilities[0], alone.probabilities[1], atol=1e-5)
    assert set(np.unique(after.codes)) <= {0, 1, 2}


def test_what_is_far_from_any_foreground_is_left_alone():
    _, image, probabilities = smooth_image((90, 90, 1))
    probabilities[1, :30] = 1e-4
    probabilities[1, 60:] = probabilities[1, :, :30] = probabilities[1, :, 60:] = 1e-4
    probabilities[0] = 1 - probabilities[1]
    crf = DenseCRF(ORGAN, distance_mm=4.0)
    after = crf(Segmented(decided(probabilities, ORGAN), (1.0, 1.0, 1.0), probabilities, image))
    np.testing.assert_array_equal(after.probabilities[:, :20], probabilities[:, :20])
    empty = np.stack([np.ones((5, 5, 1)), np.zeros((5, 5, 1))]).astype(np.float32)
    case = Segmented(decided(empty, ORGAN), (1.0, 1.0, 1.0), empty, np.ones((1, 5, 5, 1), np.float32))
    assert crf(case) is case


def test_the_scale_of_the_image_does_not_matter():
    _, image, probabilities = smooth_image()
    case = Segmented(decided(probabilities, ORGAN), (1.0, 1.0, 1.0), probabilities, image)
    other = Segmented(case.codes, case.spacing, probabilities, image * 7)
    np.testing.assert_allclose(
        DenseCRF(ORGAN)(case).probabilities, DenseCRF(ORGAN)(other).probabilities, atol=1e-4
    )
    assert scaled(np.zeros((2, 3, 3, 1), np.float32)).shape == (1, 3, 3, 1)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(UserError, match=r"postprocess.intensity: is out of range"):
        DenseCRF(ORGAN, intensity=0.0)
    with pytest.raises(UserError, match=r"postprocess.iterations"):
        DenseCRF(ORGAN, iterations=0)
