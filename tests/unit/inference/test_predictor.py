import numpy as np
import pytest
import torch
from torch import nn

from medseg.contracts import Labels
from medseg.data.formats import Header, Volume
from medseg.data.preprocess import preprocess_case
from medseg.errors import UserError
from medseg.inference.bundle import Bundle
from medseg.inference.ensemble import predict_prepared, prepare
from medseg.inference.predictor import Predictor, make_predictors
from medseg.inference.settings import InferenceSettings

from .toys import TWO_CLASSES, flat_plan, make_network, tiny_plan

EXACT = InferenceSettings(precision="32", device="cpu", flips=False)


class OneHot(nn.Module):
    """Intensities that are codes -> logits that say so."""

    def __init__(self, channels=3):
        super().__init__()
        self.channels = channels

    def forward(self, image, present=None):
        return (torch.cat([(image == k) * 50.0 for k in range(self.channels)], dim=1),)


def volume(array, affine=None):
    affine = np.diag([1.0, 1.0, 1.0, 1.0]) if affine is None else np.asarray(affine, float)
    spacing = tuple(np.linalg.norm(affine[:3, :3], axis=0))
    return Volume(array, affine, Header(array.shape, affine, spacing, str(array.dtype)))


def codes_volume(shape=(19, 13, 11), seed=0):
    generator = np.random.Generator(np.random.Philox(seed))
    codes = np.zeros(shape, np.uint8)
    codes[2:-1, 1:-3, 2:-2] = generator.integers(
        0, 3, size=[n - d for n, d in zip(shape, (3, 4, 4), strict=True)]
    )
    return codes


@pytest.mark.parametrize("make_plan", [tiny_plan, flat_plan])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_the_identity_gives_the_label_back_over_many_windows(make_plan, axes, overlap):
    codes = codes_volume()
    plan = make_plan(axes=axes)
    affine = np.array([[0, -1, 0, 5], [0, 0, 1, 3], [1, 0, 0, -7], [0, 0, 0, 1]])
    prepared = preprocess_case({"MRI": volume(codes, affine)}, None, plan, TWO_CLASSES)
    assert prepared.geometry.shape != codes.shape
    settings = InferenceSettings(overlap=overlap, flips=True, device="cpu")
    predictor = Predictor([OneHot()], plan, TWO_CLASSES, settings)
    found = predictor.codes(prepared.image, prepared.present, prepared.geometry)
    np.testing.assert_array_equal(found, codes)
    assert found.dtype == np.uint8


def test_file_values_are_written_not_codes():
    codes = codes_volume()
    labels = Labels(("a", "b"), ((7,), (300, 301)))
    plan = tiny_plan()
    prepared = preprocess_case({"MRI": volume(codes)}, None, plan, labels)
    predictor = Predictor([OneHot()], plan, labels, EXACT)
    found = predictor.codes(prepared.image, prepared.present, prepared.geometry)
    np.testing.assert_array_equal(found, np.array([0, 7, 300])[codes])


def test_a_volume_smaller_than_the_patch():
    codes = codes_volume((6, 7, 6))
    plan = tiny_plan(patch_size=(16, 8, 8))
    prepared = preprocess_case({"MRI": volume(codes)}, None, plan, TWO_CLASSES)
    predictor = Predictor([OneHot()], plan, TWO_CLASSES, EXACT)
    np.testing.assert_array_equal(predictor.codes(prepared.image, prepared.present, prepared.geometry), codes)


def test_an_image_without_anything_is_background():
    plan = tiny_plan()
    prepared = preprocess_case({"MRI": volume(np.zeros((9, 9, 9), np.uint8))}, None, plan, TWO_CLASSES)
    predictor = Predictor([OneHot()], plan, TWO_CLASSES, EXACT)
    assert not predictor.codes(prepared.image, prepared.present, prepared.geometry).any()


def test_two_runs_give_the_same_bits():
    plan = tiny_plan()
    image = np.random.Generator(np.random.Philox(3)).normal(size=(15, 14, 13)).astype(np.float32)
    prepared = preprocess_case({"MRI": volume(image)}, None, plan, TWO_CLASSES)
    network = make_network(plan, TWO_CLASSES)
    once = Predictor([network], plan, TWO_CLASSES, EXACT)
    planes = [list(once.planes(prepared.image, prepared.present, prepared.geometry, 0)) for _ in range(2)]
    assert all(torch.equal(a, b) for a, b in zip(*planes, strict=True))


def test_flips_follow_what_training_mirrored():
    network = make_network(tiny_plan(), TWO_CLASSES)

    def axes(flips, plan=tiny_plan):
        return Predictor([network], plan(), TWO_CLASSES, InferenceSettings(flips=flips), (2, 0)).flip_axes

    assert axes("auto") == (0, 2)
    assert axes(True) == (0, 1, 2)
    assert axes(True, flat_plan) == (0, 1)
    assert axes(False) == ()


def naive_probabilities(predictor, prepared):
    """``(K, W, H, D)`` on the file's axes, by whole volumes."""
    geometry = prepared.geometry
    planes = list(predictor.planes(prepared.image, prepared.present, geometry, 0))
    scores = torch.stack(planes, dim=1).numpy()
    whole = np.zeros((len(scores), *geometry.oriented_shape))
    whole[0] = 1
    whole[(slice(None), *geometry.crop_slices)] = scores
    flips = [0] + [1 + a for a in range(3) if geometry.flips[a]]
    whole = np.flip(whole, flips[1:])
    return whole.transpose(0, *(1 + geometry.permutation.index(a) for a in range(3)))


@pytest.mark.parametrize("first_axes", [(0, 1, 2), (1, 0, 2), (2, 1, 0), (2, 0, 1)])
def test_an_ensemble_of_different_plans_meets_on_the_grid_of_the_file(make_bundle, first_axes):
    plans = [
        tiny_plan(axes=first_axes),
        tiny_plan(spacing=(1.5, 1.0, 0.8), axes=(2, 1, 0)),
        flat_plan(spacing=(1.2, 1.2, 1.0), axes=(1, 0, 2)),
    ]
    folders = [make_bundle(str(n), plan, seed=n) for n, plan in enumerate([*plans, plans[0]])]
    predictors = make_predictors([Bundle.load(folder) for folder in folders], EXACT)
    assert [len(p.networks) for p in predictors] == [2, 1, 1]

    image = np.random.Generator(np.random.Philox(5)).normal(size=(12, 10, 14)).astype(np.float32)
    image[:2] = image[:, :, -3:] = 0
    affine = np.array([[-1, 0, 0, 5], [0, 0, 1, 3], [0, 1, 0, -7], [0, 0, 0, 1]])
    prepared = prepare(predictors, {"MRI": volume(image, affine)})
    assert len(prepared) == 3
    parts = [
        naive_probabilities(p, preprocess_case({"MRI": volume(image, affine)}, None, p.plan, TWO_CLASSES))
        for p in predictors
    ]
    mean = (2 * parts[0] + parts[1] + parts[2]) / 4
    ordered = np.sort(mean, axis=0)
    clear = ordered[-1] - ordered[-2] > 1e-4
    assert clear.mean() > 0.99
    found = predict_prepared(predictors, prepared)
    np.testing.assert_array_equal(found[clear], mean.argmax(axis=0)[clear])
    assert len(np.unique(found)) > 1


def test_bundles_of_other_tasks_do_not_mix(make_bundle):
    other = Labels(("organ", "lesion"), ((2,), (1,)))
    bundles = [Bundle.load(make_bundle("a")), Bundle.load(make_bundle("b", labels=other))]
    with pytest.raises(UserError, match="has other labels or modalities"):
        make_predictors(bundles, EXACT)


def test_too_little_memory_is_a_line():
    class Hungry(nn.Module):
        def forward(self, image, present=None):
            raise torch.OutOfMemoryError("CUDA out of memory")

    plan = tiny_plan()
    prepared = preprocess_case({"MRI": volume(codes_volume())}, None, plan, TWO_CLASSES)
    predictor = Predictor([Hungry()], plan, TWO_CLASSES, EXACT)
    with pytest.raises(UserError, match=r"inference.window_batch: windows do not fit"):
        predictor.codes(prepared.image, prepared.present, prepared.geometry)


@pytest.mark.parametrize("make_plan", [tiny_plan, flat_plan])
@pytest.mark.parametrize("overlap", [0.0, 0.5])
def test_longer_windows_give_the_label_back(make_plan, overlap):
    codes = codes_volume((12, 13, 25))
    prepared = preprocess_case({"MRI": volume(codes)}, None, make_plan(), TWO_CLASSES)
    settings = InferenceSettings(overlap=overlap, flips=True, device="cpu")
    predictor = Predictor([OneHot()], make_plan(), TWO_CLASSES, settings, flexible=True)
    grid = predictor.grid(prepared.geometry)
    assert any(w > 8 for w in grid.window)
    assert all(w <= 10 for w in grid.window)
    np.testing.assert_array_equal(predictor.codes(prepared.image, prepared.present, prepared.geometry), codes)


def test_a_case_little_longer_than_the_patch_is_one_window_of_a_convolutional_network(make_bundle):
    bundle = Bundle.load(make_bundle())
    (flexible,) = make_predictors([bundle], EXACT)
    rigid = Predictor([bundle.network()], bundle.plan, TWO_CLASSES, EXACT)
    image = np.random.Generator(np.random.Philox(3)).normal(size=(9, 10, 9)).astype(np.float32)
    prepared = preprocess_case({"MRI": volume(image)}, None, bundle.plan, TWO_CLASSES)
    corners = [list(p.grid(prepared.geometry).ordered(0)) for p in (flexible, rigid)]
    assert [len(found) for found in corners] == [1, 8]
    planes = torch.stack(list(flexible.planes(prepared.image, prepared.present, prepared.geometry, 0)), dim=1)
    padded = torch.zeros(1, 1, 10, 10, 10)
    padded[0, :, :9, :, :9] = torch.from_numpy(np.array(prepared.image))
    expected = bundle.network()(padded, torch.ones(1, 1, dtype=torch.bool))[0].softmax(1)[0, :, :9, :, :9]
    torch.testing.assert_close(planes, expected, rtol=1e-5, atol=1e-6)


def test_longer_windows_come_in_smaller_batches():
    seen = []

    class Watched(OneHot):
        def forward(self, image, present=None):
            seen.append(tuple(image.shape))
            return super().forward(image, present)

    plan = tiny_plan(batch_size=4)
    image = np.ones((10, 10, 40), np.float32)
    prepared = preprocess_case({"MRI": volume(image)}, None, plan, TWO_CLASSES)
    predictor = Predictor([Watched()], plan, TWO_CLASSES, EXACT, flexible=True)
    predictor.codes(prepared.image, prepared.present, prepared.geometry)
    assert all(np.prod(shape) <= 4 * 8**3 for shape in seen)
    assert max(shape[0] for shape in seen) == 2


def test_only_bundles_with_the_same_windows_share_a_predictor(make_bundle):
    """Neighbouring slices and multiples change what a network sees, however alike the plans are."""
    plans = [flat_plan(), flat_plan(slices=3), flat_plan(multiple=4), flat_plan()]
    bundles = [Bundle.load(make_bundle(str(n), plan, seed=n)) for n, plan in enumerate(plans)]
    predictors = make_predictors(bundles, EXACT)
    assert [len(p.networks) for p in predictors] == [2, 1, 1]
    image = np.random.Generator(np.random.Philox(5)).normal(size=(9, 9, 5)).astype(np.float32)
    assert predict_prepared(predictors, prepare(predictors, {"MRI": volume(image)})).shape == (9, 9, 5)
