from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg.contracts import IGNORE, Batch
from medseg.training.probe_scores import choose_voxels, linear, mean_dice, nearest_neighbours
from medseg.training.probes import Probes, probe_epochs


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 5))
def test_neighbours_vote_as_in_a_loop(seed: int, known: int, count: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows, asked = (torch.randn(n, 3, generator=generator) for n in (known, 4))
    codes = torch.randint(0, 3, (known,), generator=generator)
    expected = []
    for one in asked:
        likeness = [float(one @ row / (one.norm() * row.norm())) for row in rows]
        best = sorted(range(known), key=lambda i: -likeness[i])[:count]
        votes = [sum(int(codes[i]) == code for i in best) for code in range(3)]
        expected.append(votes.index(max(votes)))
    assert nearest_neighbours(rows, codes, asked, count).tolist() == expected


def test_the_linear_map_separates_what_a_plane_separates_and_has_a_bias() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(200, 4, generator=generator)
    codes = (rows[:, 1] > 0).long()
    assert (linear(rows[:100], codes[:100], rows[100:]) == codes[100:]).float().mean() > 0.9
    # minimal value of the penalised least squares, found by descent
    known, one_hot = rows[:40].double(), nn.functional.one_hot(codes[:40]).double()
    weights = torch.zeros(5, 2, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([weights], max_iter=200, tolerance_grad=1e-12)

    def loss() -> Tensor:
        optimizer.zero_grad()
        error = (known @ weights[:4] + weights[4] - one_hot).square().sum()
        value: Tensor = error + 0.01 * 40 * weights[:4].square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    optimizer.step(loss)
    expected = (rows[40:].double() @ weights[:4] + weights[4]).argmax(1)
    assert torch.equal(linear(rows[:40], codes[:40], rows[40:]), expected)


def test_dice_is_of_the_codes_that_occur() -> None:
    found, codes = torch.tensor([0, 1, 1, 2, 3]), torch.tensor([0, 1, 0, 2, 2])
    assert mean_dice(found, codes) == pytest.approx((2 / 3 + 2 / 3) / 2)
    assert math.isnan(mean_dice(found, torch.zeros(5, dtype=torch.int64)))


def test_voxels_are_of_every_class_and_none_is_ignored() -> None:
    label = torch.zeros(6, 6, dtype=torch.uint8)
    label[0, :3], label[5, 5], label[3] = 1, 2, IGNORE
    places = choose_voxels(label, 4, torch.Generator().manual_seed(0))
    codes = label[tuple(places.t())].tolist()
    assert sorted(codes) == [0, 0, 0, 0, 1, 1, 1, 2]
    assert len({tuple(place) for place in places.tolist()}) == len(codes)


class Sees(nn.Module):
    """One level tells the class where ``tells``; another, coarser one is noise."""

    def __init__(self, tells: bool) -> None:
        super().__init__()
        self.tells = tells

    def forward(self, image: Tensor, present: Tensor | None = None) -> list[Tensor]:
        noise = torch.randn(len(image), 4, 4, 4, generator=torch.Generator().manual_seed(1))
        told = image if self.tells else torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
        return [torch.cat([told, told.square()], 1), 0.01 * noise]


def batches(foreground: bool = True) -> list[dict[str, Batch]]:
    generator, found = torch.Generator().manual_seed(0), []
    for case in ("a", "b", "c", "d"):
        label = torch.randint(0, 3, (1, 1, 8, 8), generator=generator).byte() * foreground
        image = label.float() + 0.05 * torch.randn(1, 1, 8, 8, generator=generator)
        found.append({"labelled": Batch(image, label, torch.ones(1, 1).bool(), torch.zeros(1, 2), [case])})
    return found


def test_features_that_tell_the_classes_score_high_and_noise_does_not() -> None:
    good, bad = (Probes(batches(), ("a", "b"), ()).scores(Sees(tells)) for tells in (True, False))
    assert good.keys() == bad.keys() == {"probe/knn_dice", "probe/linear_dice"}
    assert min(good.values()) > 0.8, "neighbours are troubled by the noise beside it"
    assert max(bad.values()) < 0.6
    assert good == Probes(batches(), ("a", "b"), ()).scores(Sees(True)), "the same each time"


def test_without_foreground_there_is_nothing_to_tell() -> None:
    assert Probes(batches(foreground=False), ("a", "b"), ()).scores(Sees(True)) == {}


def test_epochs_are_evenly_spread_and_the_last_is_among_them() -> None:
    assert probe_epochs(7, 3) == [2, 5, 6]
    assert probe_epochs(6, 3) == [2, 5]
    assert probe_epochs(2, 10) == [1]
    assert probe_epochs(7, 0) == []
