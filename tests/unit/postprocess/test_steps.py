"""Every step that ``conf/postprocess`` lists, and what each of them does to a picture and a volume."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.config.folders import conf_folder, options
from medseg.contracts import Labels
from medseg.errors import Problems, UserError
from medseg.postprocess.chain import Chain, step_problems
from medseg.postprocess.decide import decided
from medseg.postprocess.fill_holes import FillHoles
from medseg.postprocess.largest_component import LargestComponent
from medseg.postprocess.minimum_size import MinimumSize
from medseg.postprocess.nesting import Nesting
from medseg.postprocess.segmented import Segmented
from medseg.postprocess.threshold import Threshold
from medseg.targets import build

CLASSES = Labels(("organ", "lesion"), ((1,), (2,)))
BRATS = Labels(("whole", "core", "enhancing"), ((1, 2, 4), (1, 4), (4,)), overlapping=True)
CROSSING = Labels(("one", "other"), ((1, 2), (2, 3)), overlapping=True)


def spec_of(name):
    return yaml.safe_load((conf_folder() / "postprocess" / f"{name}.yaml").read_text(encoding="utf-8"))


def case_of(codes, spacing=(1.0, 1.0, 1.0), probabilities=None, image=None):
    return Segmented(np.asarray(codes, dtype=np.uint8), spacing, probabilities, image)


def random_case(labels, seed=0, shape=(9, 8, 5)):
    rng = np.random.Generator(np.random.Philox(seed))
    scores = rng.uniform(size=(labels.out_channels, *shape)).astype(np.float32)
    if not labels.overlapping:
        scores /= scores.sum(0)
    image = rng.uniform(1, 2, size=(2, *shape)).astype(np.float32)
    return case_of(decided(scores, labels), (1.0, 1.5, 2.0), scores, image)


@pytest.mark.parametrize("labels", [CLASSES, BRATS, CROSSING], ids=["classes", "nested", "crossing"])
@pytest.mark.parametrize("name", options("postprocess"))
def test_every_choice_gives_codes_of_its_labels_and_leaves_its_input(name, labels):
    step = build(spec_of(name), "postprocess", labels)
    case = random_case(labels)
    before = case.codes.copy(), case.probabilities.copy()
    after = step(case)
    assert after.codes.dtype == np.uint8
    assert after.codes.shape == case.codes.shape
    assert after.codes.max() <= len(labels.names)
    np.testing.assert_array_equal(case.codes, before[0])
    np.testing.assert_array_equal(case.probabilities, before[1])
    again = step(case)
    np.testing.assert_array_equal(after.codes, again.codes)


@pytest.mark.parametrize("name", options("postprocess"))
@pytest.mark.parametrize("shape", [(6, 5, 1), (1, 1, 1), (1, 7, 4)])
def test_every_choice_takes_pictures_and_empty_cases(name, shape):
    step = build(spec_of(name), "postprocess", CLASSES)
    scores = np.zeros((3, *shape), np.float32)
    scores[0] = 1
    empty = case_of(np.zeros(shape), probabilities=scores, image=np.zeros((1, *shape), np.float32))
    assert not step(empty).codes.any()
    full = case_of(np.ones(shape), probabilities=scores[[1, 0, 2]], image=np.ones((1, *shape), np.float32))
    assert (step(full).codes == 1).all() or name in ("clean", "minimum_size")


def test_the_largest_object_of_each_class():
    codes = np.zeros((10, 10, 1))
    codes[:3, :3] = 1
    codes[6:8, 6:8] = 1
    codes[9, 0] = 2
    codes[9, 3:5] = 2
    after = LargestComponent(CLASSES)(case_of(codes)).codes
    expected = codes.copy()
    expected[6:8, 6:8] = expected[9, 0] = 0
    np.testing.assert_array_equal(after, expected)
    only = LargestComponent(CLASSES, names=["lesion"])(case_of(codes)).codes
    assert (only == 1).sum() == (codes == 1).sum()
    whole = LargestComponent(CLASSES, together=True)(case_of(codes)).codes
    np.testing.assert_array_equal(whole > 0, codes == np.where(np.arange(10)[:, None, None] < 3, 1, 9))


def test_corners_connect_and_the_first_of_equals_stays():
    codes = np.zeros((5, 5, 1))
    codes[0, 0] = codes[1, 1] = codes[3, 3] = codes[4, 4] = 1
    after = LargestComponent(CLASSES)(case_of(codes)).codes
    assert after[0, 0] == after[1, 1] == 1
    assert after.sum() == 2


def test_size_is_in_mm3_of_the_file():
    codes = np.zeros((12, 3, 1))
    codes[:4, 0] = 1
    codes[6:9, 2] = 1
    spacing = (0.1, 1.0, 2.5)  # 0.25 mm3 each
    np.testing.assert_array_equal(MinimumSize(CLASSES, mm3=1.0)(case_of(codes, spacing)).codes.sum(), 4)
    assert MinimumSize(CLASSES, mm3=0.75)(case_of(codes, spacing)).codes.sum() == 7
    assert MinimumSize(CLASSES, mm3=1.01)(case_of(codes, spacing)).codes.sum() == 0


def test_holes_are_filled_and_what_is_inside_stays():
    codes = np.zeros((9, 9, 9))
    codes[1:8, 1:8, 1:8] = 1
    codes[3, 3, 3] = 0
    codes[5, 5, 5] = 2
    after = FillHoles(CLASSES, names=["organ"])(case_of(codes)).codes
    assert after[3, 3, 3] == 1
    assert after[5, 5, 5] == 2
    assert (after > 0).sum() == 7**3
    tunnel = codes.copy()
    tunnel[3, 3, :] = 0
    assert (FillHoles(CLASSES)(case_of(tunnel)).codes[3, 3] == 0).all()
    plane = FillHoles(CLASSES, in_plane=True)(case_of(tunnel, (1.0, 1.0, 3.0))).codes
    np.testing.assert_array_equal(plane[3, 3], codes[1, 1] > 0)


def test_only_small_holes_where_a_size_is_given():
    codes = np.ones((12, 12, 1))
    codes[2, 2] = 0
    codes[5:8, 5:8] = 0
    after = FillHoles(CLASSES, largest_mm3=4.0)(case_of(codes)).codes
    assert after[2, 2] == 1
    assert (after == 0).sum() == 9


def test_regions_fall_to_what_encloses_them():
    codes = np.ones((20, 8, 1))  # whole tumour, of which voxels become core and enhancing
    codes[2:6, 2:6] = 2
    codes[3, 3] = 3
    codes[12, 2:4] = 2  # a second, small core
    codes[12, 2] = 3
    after = LargestComponent(BRATS, names=["core"])(case_of(codes)).codes
    assert (after[12] == 1).all()
    assert after[3, 3] == 3
    hole = codes.copy()
    hole[4, 4] = 1
    assert FillHoles(BRATS, names=["core"])(case_of(hole)).codes[4, 4] == 2
    gone = MinimumSize(BRATS, names=["whole"], mm3=1e6)(case_of(codes)).codes
    assert not gone.any()


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), share=st.floats(0.1, 0.9))
@pytest.mark.parametrize("labels", [BRATS, CROSSING])
def test_regions_stay_inside_one_another(labels, seed, share):
    """Whatever is taken away or filled, the file's values make the same regions as before it."""
    rng = np.random.Generator(np.random.Philox(seed))
    codes = rng.integers(len(labels.names) + 1, size=(7, 6, 4)).astype(np.uint8)
    codes[rng.uniform(size=codes.shape) < share] = 0
    nesting = Nesting(labels)
    for step in (LargestComponent(labels), MinimumSize(labels, mm3=3.0), FillHoles(labels)):
        after = step(case_of(codes)).codes
        for k in range(len(labels.names)):
            inside = nesting.mask(after, (k,))
            for outer in range(k):
                if labels is BRATS:
                    assert not (inside & ~nesting.mask(after, (outer,))).any()
    for k in range(len(labels.names)):
        where = rng.uniform(size=codes.shape) < 0.5
        assert not (nesting.mask(nesting.without(codes, (k,), where), (k,)) & where).any()
        added = nesting.added(codes, k, where)
        assert (nesting.mask(added, (k,)) >= nesting.mask(codes, (k,))).all()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_thresholds_of_one_half_change_nothing(seed):
    for labels in (CLASSES, BRATS):
        case = random_case(labels, seed)
        np.testing.assert_array_equal(Threshold(labels)(case).codes, case.codes)


def test_a_threshold_is_a_share_of_a_class_and_the_background():
    scores = np.array([[0.69, 0.71, 0.2], [0.31, 0.29, 0.3], [0.0, 0.0, 0.5]], np.float32)[:, :, None, None]
    case = case_of(decided(scores, CLASSES), probabilities=scores)
    after = Threshold(CLASSES, per_name={"organ": 0.3})(case)
    assert after.codes.ravel().tolist() == [1, 0, 1]
    regions = np.array([[0.4, 0.6, 0.6], [0.1, 0.3, 0.45], [0.0, 0.0, 0.2]], np.float32)[:, :, None, None]
    after = Threshold(BRATS, threshold=0.35, per_name={"core": 0.4})(
        case_of(decided(regions, BRATS), probabilities=regions)
    )
    assert after.codes.ravel().tolist() == [1, 1, 2]


def test_the_decision_is_that_of_a_prediction():
    torch = pytest.importorskip("torch")
    from medseg.inference.restore import decide

    for labels in (CLASSES, BRATS):
        scores = random_case(labels, 4, (30, 20, 3)).probabilities
        scores = np.round(scores, 1)  # many ties
        np.testing.assert_array_equal(decided(scores, labels), decide(torch.from_numpy(scores), labels))


def test_a_chain_is_its_steps_in_order_and_knows_what_they_read():
    specs = [spec_of("threshold") | {"threshold": 0.3}, spec_of("largest_component"), spec_of("fill_holes")]
    chain, case = Chain(CLASSES, steps=specs), random_case(CLASSES)
    expected = case
    for spec in specs:
        expected = build(spec, "postprocess", CLASSES)(expected)
    np.testing.assert_array_equal(chain(case).codes, expected.codes)
    assert chain.needs == {"probabilities"}
    assert Chain(CLASSES, steps=[spec_of("dense_crf")]).needs == {"probabilities", "image"}
    nothing = Chain(CLASSES)
    assert nothing(case) is case
    assert nothing.needs == frozenset()


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        ({"_target_": "medseg.networks.unet.UNet"}, "is not a class of medseg.postprocess"),
        ({"_target_": "os.system"}, "is not on the list of allowed targets"),
        ({"_target_": "medseg.postprocess.minimum_size.MinimumSize", "mm": 3}, "did you mean 'mm3'"),
        ({"mm3": 3}, "names no part"),
    ],
)
def test_what_is_no_step_is_refused_before_anything_is_imported(spec, line):
    assert line in step_problems([spec])[0]
    with pytest.raises(Problems, match="postprocess"):
        Chain(CLASSES, steps=[spec])


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: LargestComponent(CLASSES, names=["liver"]), "there is no 'liver'; use one of organ, lesion"),
        (lambda: MinimumSize(CLASSES, mm3=-1.0), "is negative"),
        (lambda: FillHoles(CLASSES, largest_mm3=-1.0), "is negative"),
        (lambda: Threshold(CLASSES, threshold=1.0), "is no threshold"),
        (lambda: Threshold(CLASSES, per_name={"liver": 0.4}), "there is no 'liver'"),
    ],
)
def test_settings_that_fit_no_labels_are_one_line(make, line):
    with pytest.raises(UserError, match=line) as caught:
        make()
    assert str(caught.value).startswith("postprocess.")
