"""Every fusion with every one of its merges and ways to share weights, on the tiny architecture."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn

from medseg.fusion.agnostic import AgnosticFusion
from medseg.fusion.early import EarlyFusion
from medseg.fusion.late import LateFusion
from medseg.fusion.merges.choice import MERGES
from medseg.fusion.mid import MidFusion

M, K = 3, 3
WEIGHTS = ("separate", "shared")
OPINIONS = ("mean", "learned", "product", "vote")
ANY_NUMBER = ("mean_variance", "mean", "max", "gated", "attention")
DEFAULTS: list[tuple[type[nn.Module], dict[str, Any]]] = [
    (EarlyFusion, {}),
    (MidFusion, {}),
    (LateFusion, {}),
    (AgnosticFusion, {}),
]
COMBINATIONS: list[tuple[type[nn.Module], dict[str, Any]]] = [
    (EarlyFusion, {}),
    *((MidFusion, {"merge": m, "weights": w}) for m in MERGES for w in WEIGHTS),
    (MidFusion, {"merge": "gated", "merge_levels": [-1], "other_merge": "concatenation"}),
    *((LateFusion, {"merge": m, "weights": w}) for m in OPINIONS for w in WEIGHTS),
    *((LateFusion, {"merge": m, "overlapping": True}) for m in OPINIONS),
    *((AgnosticFusion, {"merge": m}) for m in ANY_NUMBER),
    (AgnosticFusion, {"told": False}),
]


def name(value: Any) -> str:
    return value.__name__ if isinstance(value, type) else "-".join(map(str, value.values())) or "default"


every = pytest.mark.parametrize(("fusion", "options"), COMBINATIONS, ids=name)


def draw(batch: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(batch, M, 6, 4, generator=torch.Generator().manual_seed(seed))


@every
def test_a_step_without_one_modality_trains_every_parameter(
    fusion: type[nn.Module], options: dict[str, Any], architecture: Any
) -> None:
    fused = fusion(architecture, M, K, True, **options)
    present = torch.tensor([[False, True, True], [False, False, True], [False, False, False]])
    logits = fused(draw(3), present)
    assert [level.shape for level in logits] == [(3, K, 6, 4), (3, K, 3, 2)]
    sum(level.square().mean() for level in logits).backward()
    assert [key for key, weight in fused.named_parameters() if weight.grad is None] == []
    assert all(weight.grad.isfinite().all() for weight in fused.parameters())


@every
def test_a_row_does_not_depend_on_its_batch(
    fusion: type[nn.Module], options: dict[str, Any], architecture: Any
) -> None:
    fused = fusion(architecture, M, K, True, **options).eval()
    image, present = draw(2), torch.tensor([[True, False, True], [False, False, False]])
    (logits,) = fused(image, present)
    assert logits.isfinite().all()
    torch.testing.assert_close(fused(image[:1], present[:1])[0], logits[:1])
    torch.testing.assert_close(fused(image)[0], fused(image, torch.ones_like(present))[0])


@every
def test_no_choice_is_made_on_values(
    fusion: type[nn.Module], options: dict[str, Any], architecture: Any
) -> None:
    """What was recorded with all modalities there is right for any others, and for any batch."""
    fused = fusion(architecture, M, K, False, **options).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        recorded = torch.jit.trace(fused, (draw(2), torch.ones(2, M, dtype=torch.bool)))
    present = torch.tensor([[True, False, True], [False, True, False], [False, False, False]])
    torch.testing.assert_close(recorded(draw(3, 1), present)[0], fused(draw(3, 1), present)[0])


@pytest.mark.parametrize(
    ("fusion", "options"), [*DEFAULTS, (MidFusion, {"merge": "cross_attention"})], ids=name
)
def test_it_can_be_exported(fusion: type[nn.Module], options: dict[str, Any], architecture: Any) -> None:
    fused = fusion(architecture, M, K, False, **options).eval()
    present = torch.tensor([[True, False, True], [False, False, False]])
    program = torch.export.export(fused, (draw(2), torch.ones(2, M, dtype=torch.bool)))
    torch.testing.assert_close(program.module()(draw(2, 1), present)[0], fused(draw(2, 1), present)[0])


@every
def test_it_can_be_made_without_memory(
    fusion: type[nn.Module], options: dict[str, Any], architecture: Any
) -> None:
    """A bundle is checked on the meta device before anything is allocated."""
    with torch.device("meta"):
        bare = fusion(architecture, M, K, False, **options).state_dict()
    real = fusion(architecture, M, K, False, **options).state_dict()
    assert {k: v.shape for k, v in bare.items()} == {k: v.shape for k, v in real.items()}
