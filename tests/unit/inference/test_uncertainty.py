"""Probabilities, entropies and the list of cases to review, as files beside the label maps."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from medseg.contracts import Labels
from medseg.data.formats import read_volume
from medseg.data.preprocess import preprocess_case
from medseg.errors import UserError
from medseg.inference.assemble import assemble_network
from medseg.inference.bundle import Bundle, save_bundle
from medseg.inference.ensemble import maps_prepared, members, prepare
from medseg.inference.entropy import entropy
from medseg.inference.maps import Wanted
from medseg.inference.mc_dropout import dropping
from medseg.inference.predict import predict_folder
from medseg.inference.predictor import Predictor, make_predictors
from medseg.inference.probability_file import read_probabilities, write_probabilities
from medseg.inference.review import predicted_dice, read_review
from medseg.inference.settings import InferenceSettings

from .toys import EARLY, TWO_CLASSES, flat_plan, tiny_plan, voxels, write_scan

EXACT = {"device": "cpu", "precision": "32"}
ALL = InferenceSettings(**EXACT, probabilities=True, uncertainty=True, flips=True)
DROPPING = {"_target_": "medseg.networks.unet.UNet", "dropout": 0.5}


def dropout_bundle(folder, plan=None, seed=0):
    plan = plan or tiny_plan()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = assemble_network(DROPPING, EARLY, plan, TWO_CLASSES)
    return save_bundle(folder, network, DROPPING, EARLY, plan, TWO_CLASSES, "toy", {}, patients=["p1"])


def test_files_beside_the_label_map(make_bundle, scans, tmp_path):
    written = predict_folder([make_bundle()], scans, tmp_path / "out", ALL)
    plain = predict_folder([make_bundle()], scans, tmp_path / "plain", InferenceSettings(**EXACT, flips=True))
    names = {path.name for path in (tmp_path / "out").iterdir()}
    ends = (".nii.gz", "_uncertainty.nii.gz", "_disagreement.nii.gz", "_probabilities.npz")
    assert names == {f"case{n}{end}" for n in range(3) for end in ends} | {"review.csv", "prediction.json"}
    for case, path in written.items():
        label = voxels(path)
        np.testing.assert_array_equal(label, voxels(plain[case]))
        scores = read_probabilities(tmp_path / "out" / f"{case}_probabilities.npz").astype(np.float32)
        assert scores.shape == (3, *label.shape)
        np.testing.assert_allclose(scores.sum(0), 1, atol=3e-3)
        clear = np.sort(scores, 0)[-1] - np.sort(scores, 0)[-2] > 2e-3
        np.testing.assert_array_equal(scores.argmax(0)[clear], label[clear])
        unsure = read_volume(tmp_path / "out" / f"{case}_uncertainty.nii.gz")
        assert unsure.array.dtype == np.float32
        np.testing.assert_allclose(unsure.affine, read_volume(path).affine)
        expected = entropy(torch.from_numpy(scores), overlapping=False).numpy()
        np.testing.assert_allclose(unsure.array, expected, atol=5e-3)
        spread = read_volume(tmp_path / "out" / f"{case}_disagreement.nii.gz").array
        assert 0 <= spread.min() <= spread.max() <= math.log(3)
        assert (spread <= unsure.array + 1e-6).all()


def test_entropy_of_classes_and_of_regions():
    half = torch.full((2, 3), 0.5)
    assert entropy(half, overlapping=False).tolist() == pytest.approx([math.log(2)] * 3)
    assert entropy(half, overlapping=True).tolist() == pytest.approx([2 * math.log(2)] * 3)
    assert entropy(torch.tensor([[1.0], [0.0]]), overlapping=True).item() == 0


def naive_members(bundles, prepared):
    """Each network and each mirrored copy by itself, with one window over the whole case."""
    found = []
    for bundle in bundles:
        for flips in ((), (0,)):
            shown = torch.from_numpy(np.array(prepared.image))[None].flip([a + 2 for a in flips])
            logits = bundle.network()(shown, torch.ones(1, 1, dtype=torch.bool))[0]
            found.append(logits.softmax(1)[0].flip([a + 1 for a in flips]))
    return torch.stack(found)


def test_disagreement_is_the_mutual_information_of_members_and_class(make_bundle):
    bundles = [Bundle.load(make_bundle(str(n), seed=n, flip_axes=(0,))) for n in range(3)]
    settings = InferenceSettings(**EXACT, uncertainty=True)
    predictors = make_predictors(bundles, settings)
    assert members(predictors) == 6
    rng = np.random.Generator(np.random.Philox(0))
    from .test_predictor import volume

    case = {"MRI": volume(rng.normal(size=(8, 8, 8)).astype(np.float32))}
    prepared = prepare(predictors, case)
    maps = maps_prepared(predictors, prepared, Wanted(probabilities=True, entropy=True, spread=True))
    each = naive_members(bundles, preprocess_case(case, None, tiny_plan(), TWO_CLASSES))
    mean = each.mean(0)
    np.testing.assert_allclose(maps.probabilities, mean.numpy(), atol=1e-5)
    np.testing.assert_allclose(maps.entropy, entropy(mean, False).numpy(), atol=1e-5)
    mutual = entropy(mean, False) - torch.stack([entropy(one, False) for one in each]).mean(0)
    np.testing.assert_allclose(maps.spread, mutual.numpy(), atol=1e-5)


def test_a_single_member_has_nothing_to_disagree_about(make_bundle, scans, tmp_path):
    settings = InferenceSettings(**EXACT, uncertainty=True, flips=False)
    predict_folder([make_bundle()], scans, tmp_path / "out", settings)
    assert not list((tmp_path / "out").glob("*_disagreement*"))
    assert len(list((tmp_path / "out").glob("*_uncertainty*"))) == 3
    lines = read_review(tmp_path / "out" / "review.csv", TWO_CLASSES.names)
    assert all(math.isnan(line.spread) for line in lines.values())


def test_pictures_get_their_maps_as_tiff(make_bundle, tmp_path):
    from PIL import Image

    (tmp_path / "in").mkdir()
    noise = np.random.Generator(np.random.Philox(1)).integers(0, 255, size=(12, 10)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "in" / "a.png")
    model = make_bundle("flat", flat_plan())
    predict_folder([model], tmp_path / "in", tmp_path / "out", ALL)
    assert (tmp_path / "out" / "a.png").exists()
    found = read_volume(tmp_path / "out" / "a_uncertainty.tif").array
    assert (found.dtype, found.shape) == (np.float32, (10, 12, 1))
    assert found.max() > 0


def test_regions_have_a_channel_each(make_bundle, scans, tmp_path):
    labels = Labels(("whole", "core"), ((1, 2), (2,)), overlapping=True)
    predict_folder([make_bundle("r", labels=labels)], scans, tmp_path / "out", ALL)
    scores = read_probabilities(tmp_path / "out" / "case0_probabilities.npz")
    assert scores.shape == (2, 10, 9, 12)


def test_what_is_missing_of_a_case_is_predicted_again(make_bundle, scans, tmp_path):
    model, out = make_bundle(), tmp_path / "out"
    predict_folder([model], scans, out, ALL)
    before = (out / "review.csv").read_text()
    (out / "case1_probabilities.npz").unlink()
    (out / "case2.nii.gz").write_bytes(b"marked")
    predict_folder([model], scans, out, ALL)
    assert (out / "case1_probabilities.npz").exists()
    assert (out / "case2.nii.gz").read_bytes() == b"marked"
    (out / "review.csv").unlink()
    predict_folder([model], scans, out, ALL)
    assert (out / "review.csv").read_text() == before
    assert (out / "case2.nii.gz").read_bytes() != b"marked"


def test_a_review_list_that_is_not_ours_is_left_alone(make_bundle, scans, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "review.csv").write_text("my notes")
    with pytest.raises(UserError, match=r"review.csv there: not predictions"):
        predict_folder([make_bundle()], scans, tmp_path / "out", ALL)
    assert (tmp_path / "out" / "review.csv").read_text() == "my notes"


def test_predicted_dice_is_the_dice_where_probabilities_are_right():
    rng = np.random.Generator(np.random.Philox(2))
    probability = rng.beta(0.3, 0.6, size=(40, 40, 40)).astype(np.float32)
    mask = probability > 0.5
    real = []
    for _ in range(5):
        truth = rng.uniform(size=mask.shape) < probability
        real.append(2 * (mask & truth).sum() / (mask.sum() + truth.sum()))
    assert predicted_dice(mask, probability) == pytest.approx(np.mean(real), abs=2e-3)
    assert math.isnan(predicted_dice(np.zeros(4, bool), np.zeros(4, np.float32)))
    assert predicted_dice(np.zeros(4, bool), np.ones(4, np.float32)) == 0


def test_probabilities_are_written_as_nnunet_does(tmp_path):
    scores = np.random.Generator(np.random.Philox(3)).uniform(size=(3, 5, 4, 6)).astype(np.float32)
    write_probabilities(tmp_path / "a.npz", scores.transpose(0, 3, 1, 2))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        assert archive.files == ["probabilities"]
        found = archive["probabilities"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, scores.transpose(0, 3, 1, 2).astype(np.float16))
    write_probabilities(tmp_path / "b.npz", scores.transpose(0, 3, 1, 2))
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    np.savez(tmp_path / "c.npz", other=scores)
    (tmp_path / "d.npz").write_bytes(b"no archive")
    np.savez(tmp_path / "e.npz", probabilities=scores)
    for name in "cde":
        with pytest.raises(UserError, match=r"inference\.probabilities=true"):
            read_probabilities(tmp_path / f"{name}.npz")


def test_dropout_passes_are_seeded_and_spread(tmp_path):
    bundle = Bundle.load(dropout_bundle(tmp_path / "model"))
    write_scan(tmp_path / "in" / "a.nii.gz", shape=(14, 9, 8))

    def scores(name, **more):
        settings = InferenceSettings(**EXACT, flips=False, probabilities=True, uncertainty=True, **more)
        predict_folder([bundle.folder], tmp_path / "in", tmp_path / name, settings)
        return read_probabilities(tmp_path / name / "a_probabilities.npz")

    state = torch.random.get_rng_state()
    once = scores("one", mc_dropout=3)
    assert torch.equal(state, torch.random.get_rng_state())
    np.testing.assert_array_equal(once, scores("again", mc_dropout=3))
    np.testing.assert_array_equal(once, scores("batch", mc_dropout=3, window_batch=1))
    assert np.abs(once.astype(float) - scores("seed", mc_dropout=3, mc_seed=1)).max() > 1e-3
    assert np.abs(once.astype(float) - scores("plain")).max() > 1e-3
    assert (tmp_path / "one" / "a_disagreement.nii.gz").exists()
    assert voxels(tmp_path / "one" / "a_disagreement.nii.gz").max() > 1e-3
    assert not (tmp_path / "plain" / "a_disagreement.nii.gz").exists()


def test_only_dropout_layers_wake_up():
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5), nn.Dropout(0.0)).eval()
    with dropping([network], torch.device("cpu"), 0):
        assert [layer.training for layer in network] == [False, True, False]
    assert not any(layer.training for layer in network)


def test_a_network_without_dropout_is_refused(make_bundle, scans, tmp_path):
    with pytest.raises(UserError, match=r"inference.mc_dropout: .* was trained without dropout"):
        predict_folder([make_bundle()], scans, tmp_path / "out", InferenceSettings(**EXACT, mc_dropout=4))
    assert not (tmp_path / "out").exists()
    for wrong in (1, -2):
        assert InferenceSettings(mc_dropout=wrong).problems()
    assert InferenceSettings(mc_seed=-1).problems()


def test_a_predictor_by_itself_still_gives_labels():
    from .test_predictor import OneHot, codes_volume, volume

    codes = codes_volume()
    settings = InferenceSettings(**EXACT, uncertainty=True, flips=False)
    prepared = preprocess_case({"MRI": volume(codes)}, None, tiny_plan(), TWO_CLASSES)
    predictor = Predictor([OneHot()], tiny_plan(), TWO_CLASSES, settings)
    np.testing.assert_array_equal(predictor.codes(prepared.image, prepared.present, prepared.geometry), codes)
