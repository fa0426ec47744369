"""Moving averages, ramps, boxes and views against the plainest way to write them."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from medseg.contracts import Labels, Progress
from medseg.objectives.beliefs import cross_entropy, entropy, hardened, probabilities
from medseg.objectives.ema import EMA
from medseg.objectives.ramp import sigmoid_ramp
from medseg.objectives.views import boxes, mixed, noisy, strong

CLASSES = Labels(("a", "b"), ((1,), (2,)))
REGIONS = Labels(("whole", "core"), ((1, 2), (2,)), overlapping=True)


@settings(deadline=None, max_examples=20)
@given(st.floats(0, 0.999), st.integers(1, 30), st.integers(0, 2**31))
def test_moving_average_equals_a_loop(decay: float, steps: int, seed: int) -> None:
    torch.manual_seed(seed)
    network = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).double()
    ema = EMA(network, decay)
    naive = [float(v) for v in network[0].weight.detach().flatten()]
    for k in range(1, steps + 1):
        for weight in network.parameters():
            weight.data += torch.randn_like(weight)
        network(torch.randn(4, 3).double())
        ema.update(network, k)
        d = min(1 - 1 / (k + 1), decay)
        naive = [
            d * mine + (1 - d) * float(v)
            for mine, v in zip(naive, network[0].weight.detach().flatten(), strict=True)
        ]
    assert ema.network[0].weight.flatten().tolist() == pytest.approx(naive, rel=1e-9, abs=1e-9)
    assert torch.equal(ema.network[1].running_mean, network[1].running_mean)
    assert torch.equal(ema.network[1].num_batches_tracked, network[1].num_batches_tracked)


def test_a_moving_average_comes_back_from_its_state() -> None:
    network = nn.Linear(3, 2)
    ema = EMA(network, 0.9)
    ema.update(nn.Linear(3, 2), 5)
    other = EMA(copy.deepcopy(network), 0.9)
    other.load_state_dict(ema.state_dict())
    assert torch.equal(other.network.weight, ema.network.weight)


@given(st.integers(0, 1000), st.floats(0.01, 1))
def test_ramp_equals_its_formula(step: int, share: float) -> None:
    found = sigmoid_ramp(Progress(step, 1000, 0), share)
    t = min(step / 1000 / share, 1)
    assert found == pytest.approx(math.exp(-5 * (1 - t) ** 2))
    assert sigmoid_ramp(Progress(step, 1000, 0), 0.0) == 1.0


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(3, 17), min_size=2, max_size=3), st.integers(0, 2**31))
def test_boxes_are_boxes_of_the_size_asked_for(size: list[int], seed: int) -> None:
    torch.manual_seed(seed)
    inside = boxes(4, size, (0.1, 0.5)).numpy()[:, 0]
    for one in inside:
        found = np.argwhere(one)
        if len(found) == 0:
            continue
        low, high = found.min(0), found.max(0) + 1
        assert one.sum() == np.prod(high - low), "filled"
        # every side is rounded to whole voxels
        assert np.prod(high - low - 1) <= 0.5 * one.size
        assert np.prod(high - low + 1) >= 0.1 * one.size


def test_the_volume_of_boxes_is_spread_evenly() -> None:
    torch.manual_seed(0)
    share = boxes(4000, (64, 64), (0.1, 0.4)).float().mean((1, 2, 3))
    assert float(share.mean()) == pytest.approx(0.25, abs=0.01)
    assert [round(float(q), 2) for q in share.quantile(torch.tensor([0.1, 0.9]))] == pytest.approx(
        [0.13, 0.37], abs=0.02
    )


def test_a_mixture_is_one_or_the_other() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 3, 5, 6), torch.randn(2, 3, 5, 6)
    inside = boxes(2, (5, 6), (0.2, 0.6))
    found = mixed(inside, a, b)
    for n in range(2):
        for c in range(3):
            for i in range(5):
                for j in range(6):
                    expected = a if inside[n, 0, i, j] else b
                    assert found[n, c, i, j] == expected[n, c, i, j]


@pytest.mark.parametrize("dims", [2, 3])
def test_views_keep_missing_modalities_at_zero(dims: int) -> None:
    torch.manual_seed(0)
    image = torch.randn(3, 4, *(9,) * dims)  # two modalities of two slices each
    present = torch.tensor([[True, True], [False, True], [True, False]])
    image[1, :2], image[2, 2:] = 0, 0
    for view in (noisy(image, present, 0.1), strong(image, present, 0.8)):
        assert view.isfinite().all()
        assert (view[1, :2] == 0).all()
        assert (view[2, 2:] == 0).all()
        assert (view[0] != image[0]).any()
        assert not torch.equal(view[1, 2], image[1, 2])
    assert torch.allclose(strong(image, present, 0.0), image, atol=1e-5)
    assert float((noisy(image, present, 0.1) - image).abs().max()) <= 0.2 + 1e-6


def test_noise_is_as_strong_as_told() -> None:
    torch.manual_seed(0)
    image = torch.zeros(1, 1, 200, 200)
    found = noisy(image, torch.ones(1, 1, dtype=torch.bool), 0.5)
    # a normal distribution cut at two standard deviations, what is beyond lying on the cut
    assert float(found.std()) == pytest.approx(0.5 * math.sqrt(0.9205), abs=0.01)


@pytest.mark.parametrize("labels", [CLASSES, REGIONS], ids=["classes", "regions"])
def test_beliefs_by_hand(labels: Labels) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, labels.out_channels, 4, 4).double()
    rows = probabilities(logits, labels).double()
    one, sure = hardened(rows, labels)
    weight = (sure > 0.5).double()
    total, unsure = 0.0, torch.zeros(2, 4, 4)
    for n in range(2):
        for i in range(4):
            for j in range(4):
                p = [float(v) for v in rows[n, :, i, j]]
                if labels.overlapping:
                    for k, v in enumerate(p):
                        assert float(one[n, k, i, j]) == (v > 0.5)
                        assert float(sure[n, k, i, j]) == pytest.approx(max(v, 1 - v))
                        total -= math.log(max(v, 1 - v)) * float(weight[n, k, i, j])
                        unsure[n, i, j] -= (v * math.log(v) + (1 - v) * math.log(1 - v)) / len(p)
                else:
                    assert one[n, :, i, j].tolist() == [float(v == max(p)) for v in p]
                    assert float(sure[n, 0, i, j]) == pytest.approx(max(p))
                    total -= math.log(max(p)) * float(weight[n, 0, i, j])
                    unsure[n, i, j] = -sum(v * math.log(v) for v in p)
    found = cross_entropy(logits, one, weight, labels)
    assert float(found) == pytest.approx(total / weight.numel(), rel=1e-5)
    assert torch.allclose(entropy(logits, labels)[:, 0].float(), unsure, atol=1e-5)
