"""What every merge must do; the learned ones also with weights other than those they start from."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg.errors import UserError
from medseg.fusion.merges.choice import MERGES, make_merge

C, M = 6, 3
SPACE = {2: (4, 3), 3: (2, 3, 2)}
FILLINGS = (0.0, 7.0, float("nan"), float("inf"), float("-inf"))
modest = settings(deadline=None, max_examples=8)

merges = pytest.mark.parametrize("name", MERGES)
seeds = st.integers(0, 10_000)
rows_of = st.lists(st.lists(st.booleans(), min_size=M, max_size=M), min_size=1, max_size=3)


def trained(name: str, dims: int, seed: int, modalities: int = M) -> nn.Module:
    """The merge with random weights, as after some training."""
    merge = make_merge(name, C, modalities, dims, "merge")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in merge.parameters():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.5)
    return merge


def draw(batch: int, dims: int, seed: int, modalities: int = M) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, C, *SPACE[dims], generator=generator) for _ in range(modalities)]


def filled(features: list[Tensor], present: Tensor, filling: float) -> list[Tensor]:
    """The same where present; elsewhere ``filling``, and all of it wants a gradient."""
    copies = [f.clone() for f in features]
    for row, m in (~present).nonzero().tolist():
        copies[m][row] = filling
    return [f.requires_grad_() for f in copies]


@merges
@pytest.mark.parametrize("dims", [2, 3])
def test_the_decoder_gets_the_pyramid_it_knows(name: str, dims: int) -> None:
    features = draw(2, dims, 0)
    merged = trained(name, dims, 1)(features, torch.ones(2, M, dtype=torch.bool))
    assert merged.shape == features[0].shape
    assert merged.dtype == features[0].dtype


@merges
@given(rows=rows_of, dims=st.sampled_from([2, 3]), filling=st.sampled_from(FILLINGS), seed=seeds)
@modest
def test_what_is_absent_has_no_effect_forward_or_backward(
    name: str, rows: list[list[bool]], dims: int, filling: float, seed: int
) -> None:
    present = torch.tensor(rows)
    merge, features = trained(name, dims, seed), draw(len(rows), dims, seed + 1)
    results = []
    for content in (0.0, filling):
        inputs = filled(features, present, content)
        merge.zero_grad()
        merged = merge(inputs, present)
        (merged * torch.linspace(-1, 1, merged.numel()).reshape(merged.shape)).sum().backward()
        gradients = [value.grad for value in (*inputs, *merge.parameters())]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        for row, m in (~present).nonzero().tolist():
            assert not inputs[m].grad[row].any()
        results.append([merged, *gradients])
    assert results[0][0].isfinite().all()
    for zeroed, other in zip(*results, strict=True):
        assert torch.equal(zeroed, other)


@pytest.mark.parametrize("name", sorted({*MERGES} - {"concatenation"}))
@given(rows=rows_of, order=st.permutations(range(M)), dims=st.sampled_from([2, 3]), seed=seeds)
@modest
def test_the_order_of_modalities_does_not_matter(
    name: str, rows: list[list[bool]], order: list[int], dims: int, seed: int
) -> None:
    present, features = torch.tensor(rows), draw(len(rows), dims, seed)
    merge = trained(name, dims, seed)
    shuffled = merge([features[m] for m in order], present[:, order])
    torch.testing.assert_close(shuffled, merge(features, present), rtol=1e-4, atol=1e-5)


def test_concatenation_knows_its_modalities_by_their_place() -> None:
    merge, features = trained("concatenation", 2, 0), draw(1, 2, 1)
    present = torch.ones(1, M, dtype=torch.bool)
    assert not torch.allclose(merge(features[::-1], present), merge(features, present), atol=0.1)


@merges
@given(rows=rows_of, dims=st.sampled_from([2, 3]), seed=seeds)
@modest
def test_each_row_is_merged_by_itself(name: str, rows: list[list[bool]], dims: int, seed: int) -> None:
    present, features = torch.tensor(rows), draw(len(rows), dims, seed)
    merge = trained(name, dims, seed)
    alone = [merge([f[b : b + 1] for f in features], present[b : b + 1]) for b in range(len(rows))]
    torch.testing.assert_close(torch.cat(alone), merge(features, present), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", sorted({*MERGES} - {"concatenation"}))
@given(which=st.sets(st.integers(0, M - 1), min_size=1), seed=seeds)
@modest
def test_a_subset_is_merged_as_if_there_were_no_others(name: str, which: set[int], seed: int) -> None:
    """Weights are those over the present modalities, whatever the number of places."""
    features, merge = draw(2, 2, seed), trained(name, 2, seed)
    present = torch.tensor([[m in which for m in range(M)]] * 2)
    fewer = merge([features[m] for m in sorted(which)], torch.ones(2, len(which), dtype=torch.bool))
    torch.testing.assert_close(merge(features, present), fewer, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mean", "max", "gated", "attention"])
def test_a_single_modality_stays_as_it_is(name: str) -> None:
    features = draw(M, 3, 0)
    merged = trained(name, 3, 1)(features, torch.eye(M, dtype=torch.bool))
    torch.testing.assert_close(merged, torch.stack([features[m][m] for m in range(M)]))


@pytest.mark.parametrize("name", sorted({*MERGES} - {"max"}))
@pytest.mark.parametrize("dims", [2, 3])
def test_before_training_it_is_the_mean(name: str, dims: int) -> None:
    features, merge = draw(2, dims, 0), make_merge(name, C, M, dims, "merge")
    merged = merge(features, torch.ones(2, M, dtype=torch.bool))
    torch.testing.assert_close(merged, torch.stack(features).mean(0))


@merges
def test_a_row_without_any_modality_is_zero(name: str) -> None:
    present = torch.tensor([[False] * M, [True, False, True]])
    merged = trained(name, 2, 0)(draw(2, 2, 1), present)
    assert not merged[0].any()
    assert merged[1].any()


@pytest.mark.parametrize("name", sorted({*MERGES} - {"mean", "max"}))
def test_every_weight_takes_part_where_a_modality_is_missing_throughout(name: str) -> None:
    merge = trained(name, 2, 0)
    merge(draw(2, 2, 1), torch.tensor([[False, True, False]] * 2)).sum().backward()
    assert [key for key, weight in merge.named_parameters() if weight.grad is None] == []


@merges
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_close(name: str, dtype: torch.dtype) -> None:
    features, present = draw(2, 3, 0), torch.tensor([[True, False, True], [False] * M])
    merge = trained(name, 3, 1)
    exact = merge(features, present)
    with torch.autocast("cpu", dtype):
        merged = merge([f.to(dtype) for f in features], present)
    assert merged.isfinite().all()
    torch.testing.assert_close(merged.float(), exact, rtol=0.1, atol=0.1)


def test_an_unknown_merge_is_refused() -> None:
    with pytest.raises(UserError, match=r"fusion.merge: 'sum' is unknown; choose mean, max"):
        make_merge("sum", C, M, 2, "fusion.merge")
