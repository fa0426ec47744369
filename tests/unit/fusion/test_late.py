from __future__ import annotations

from typing import Any

import pytest
import torch

from medseg.contracts import Network
from medseg.errors import UserError
from medseg.fusion.late import LateFusion

PRESENT = torch.tensor([[True, True, True], [True, False, True], [False, False, True]])


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(3, 3, 6, 4, generator=torch.Generator().manual_seed(0))


def alone(fusion: LateFusion, image: torch.Tensor, b: int, level: int) -> list[torch.Tensor]:
    """The logits of each modality that row ``b`` has, each from a call of its own."""
    networks = [fusion.networks[m if len(fusion.networks) > 1 else 0] for m in range(3)]
    return [networks[m](image[b : b + 1, m : m + 1])[level] for m in range(3) if PRESENT[b, m]]


@pytest.mark.parametrize("weights", ["separate", "shared"])
@pytest.mark.parametrize("overlapping", [False, True])
def test_every_level_is_the_mean_of_the_probabilities(
    weights: Any, overlapping: bool, architecture: Any, image: torch.Tensor
) -> None:
    fusion = LateFusion(architecture, 3, 2, True, overlapping, weights=weights)
    assert isinstance(fusion, Network)

    def probability(logits: torch.Tensor) -> torch.Tensor:
        return logits.sigmoid() if overlapping else logits.softmax(1)

    for level, found in enumerate(fusion(image, PRESENT)):
        rows = [
            torch.stack([probability(z) for z in alone(fusion, image, b, level)]).mean(0) for b in range(3)
        ]
        torch.testing.assert_close(probability(found), torch.cat(rows), rtol=1e-4, atol=1e-6)


def test_product_is_the_sum_of_the_logits(architecture: Any, image: torch.Tensor) -> None:
    fusion = LateFusion(architecture, 3, 2, False, merge="product")
    rows = [torch.stack(alone(fusion, image, b, 0)).sum(0) for b in range(3)]
    torch.testing.assert_close(fusion(image, PRESENT)[0], torch.cat(rows))


def test_vote_is_the_majority(architecture: Any, image: torch.Tensor) -> None:
    fusion = LateFusion(architecture, 3, 2, False, merge="vote").eval()
    votes = torch.stack(
        [network(image[:1, m : m + 1])[0].argmax(1) for m, network in enumerate(fusion.networks)]
    )
    assert torch.equal(fusion(image, PRESENT)[0][:1].argmax(1), (votes.sum(0) >= 2).long())


def test_a_network_learns_from_its_own_modality_alone(architecture: Any, image: torch.Tensor) -> None:
    fusion = LateFusion(architecture, 3, 2, False)
    fusion(image, torch.tensor([[False, True, True]] * 3))[0].square().mean().backward()
    learned = [any(bool(w.grad.any()) for w in network.parameters()) for network in fusion.networks]
    assert learned == [False, True, True]


def test_learned_weights_are_per_modality_and_class(architecture: Any) -> None:
    assert LateFusion(architecture, 3, 2, False, merge="learned").merge.scores.shape == (3, 2)


@pytest.mark.parametrize(("field", "value"), [("merge", "median"), ("weights", "tied")])
def test_an_unknown_choice_is_told(architecture: Any, field: str, value: Any) -> None:
    with pytest.raises(UserError, match=f"^fusion.{field}: '{value}' is unknown; choose "):
        LateFusion(architecture, 3, 2, False, **{field: value})
