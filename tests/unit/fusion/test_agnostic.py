from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.contracts import Network
from medseg.errors import UserError
from medseg.fusion.agnostic import AgnosticFusion
from medseg.fusion.film import ModalityFilm


def draw(count: int, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, count, 6, 4, generator=torch.Generator().manual_seed(0))


def opinionated(architecture: Any, **options: Any) -> AgnosticFusion:
    """Three modalities, each with a scale and shift of its own, as after some training."""
    fusion = AgnosticFusion(architecture, 3, 2, False, **options)
    if fusion.film is not None:
        torch.nn.init.normal_(fusion.film.table)
    return fusion.eval()


@settings(deadline=None, max_examples=10)
@given(order=st.permutations(range(4)), count=st.integers(1, 4))
def test_images_come_in_any_number_and_order(order: list[int], count: int) -> None:
    from .conftest import TinyArchitecture

    torch.manual_seed(0)
    fusion, chosen = opinionated(TinyArchitecture()), order[:count]
    ids = torch.arange(4).expand(2, 4)
    mask = torch.tensor([[k in chosen for k in range(4)]] * 2)
    whole = fusion(draw(4), mask, ids)[0]
    part = fusion(draw(4)[:, chosen], modality_ids=ids[:, chosen])[0]
    torch.testing.assert_close(part, whole, rtol=1e-4, atol=1e-5)


def test_without_ids_the_images_are_the_modalities_in_order(architecture: Any) -> None:
    fusion = opinionated(architecture)
    assert isinstance(fusion, Network)
    said = fusion(draw(3), modality_ids=torch.arange(3).expand(2, 3))[0]
    assert torch.equal(fusion(draw(3))[0], said)
    with pytest.raises(UserError, match="fusion: 2 images for a model of 3 modalities; say which"):
        fusion(draw(2))


def test_who_is_told_answers_by_modality_and_who_is_not_does_not(architecture: Any) -> None:
    for told in (True, False):
        fusion = opinionated(architecture, told=told)
        answers = [fusion(draw(1), modality_ids=torch.full((2, 1), k))[0] for k in (0, 1, fusion.unknown)]
        apart = [not torch.allclose(answers[0], other, atol=1e-3) for other in answers[1:]]
        assert apart == [told, told]


def test_unknown_is_drawn_in_training_alone_and_as_often_as_said(architecture: Any) -> None:
    fusion = AgnosticFusion(architecture, 3, 2, False, unknown_probability=0.25)
    ids = torch.arange(3).expand(4000, 3)
    torch.manual_seed(0)
    drawn = fusion.train()._forget(ids)
    assert abs(float((drawn == fusion.unknown).float().mean()) - 0.25) < 0.02
    assert torch.equal(drawn[drawn != fusion.unknown], ids[drawn != fusion.unknown])
    torch.manual_seed(0)
    assert torch.equal(fusion._forget(ids), drawn)
    assert torch.equal(fusion.eval()._forget(ids), ids)


def test_the_unknown_slot_learns_from_what_was_called_unknown(architecture: Any) -> None:
    fusion = AgnosticFusion(architecture, 3, 2, False, unknown_probability=1.0)
    fusion(draw(3))[0].square().mean().backward()
    assert fusion.film.table.grad.any(1).tolist() == [False, False, False, True]


def test_whether_a_sequence_never_seen_can_be_asked_for(architecture: Any) -> None:
    assert AgnosticFusion(architecture, 3, 2, False).takes_unseen
    assert AgnosticFusion(architecture, 3, 2, False, told=False, unknown_probability=0.0).takes_unseen
    assert not AgnosticFusion(architecture, 3, 2, False, unknown_probability=0.0).takes_unseen


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"unknown_probability": 1.5}, "fusion.unknown_probability: 1.5 is no probability; give 0 to 1"),
        ({"merge": "concatenation"}, "fusion.merge: 'concatenation' is none that takes any number of "
         "modalities in any order; choose mean_variance, mean, max, gated, attention"),
    ],
)  # fmt: skip
def test_what_cannot_be_built_is_told(architecture: Any, options: dict[str, Any], line: str) -> None:
    with pytest.raises(UserError) as error:
        AgnosticFusion(architecture, 3, 2, False, **options)
    assert str(error.value) == line


def test_film_is_a_scale_and_a_shift_per_row_and_level() -> None:
    film, levels = ModalityFilm((2, 3), 4), [torch.randn(3, 2, 4, 4), torch.randn(3, 3, 2, 2)]
    ids = torch.tensor([3, 0, 3])
    assert all(torch.equal(a, b) for a, b in zip(film(levels, ids), levels, strict=True))
    torch.nn.init.normal_(film.table)
    found = film(levels, ids)
    for row, slot in enumerate(ids.tolist()):
        values = film.table[slot]
        fine = levels[0][row] * (1 + values[0:2, None, None]) + values[2:4, None, None]
        coarse = levels[1][row] * (1 + values[4:7, None, None]) + values[7:10, None, None]
        torch.testing.assert_close(found[0][row], fine)
        torch.testing.assert_close(found[1][row], coarse)
