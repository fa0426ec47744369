"""The merged logits against probabilities that are worked out one row and modality at a time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from medseg.fusion.opinions.learned import LearnedOpinion
from medseg.fusion.opinions.mean import MeanOpinion
from medseg.fusion.opinions.product import ProductOpinion
from medseg.fusion.opinions.vote import VoteOpinion

K, M = 3, 4
NAMES = ("mean", "learned", "product", "vote")
modest = settings(deadline=None, max_examples=20)
rows_of = st.lists(st.lists(st.booleans(), min_size=M, max_size=M), min_size=1, max_size=3)

every = pytest.mark.parametrize("name", NAMES)
both = pytest.mark.parametrize("overlapping", [False, True], ids=["classes", "regions"])


def make(name: str, overlapping: bool, seed: int = 0) -> nn.Module:
    if name == "learned":
        opinion = LearnedOpinion(M, K, overlapping)
        generator = torch.Generator().manual_seed(seed)
        opinion.scores.data = torch.randn(M, K, generator=generator)
        return opinion
    return {"mean": MeanOpinion(overlapping), "product": ProductOpinion(), "vote": VoteOpinion(overlapping)}[
        name
    ].eval()


def draw(batch: int, seed: int, scale: float = 2.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, K, 3, 2, generator=generator) * scale for _ in range(M)]


def probability(logits: Tensor, overlapping: bool) -> Tensor:
    """Per row ``(K, *S)``, in double precision."""
    return logits.double().sigmoid() if overlapping else logits.double().softmax(-3)


def expected(name: str, opinion: nn.Module, row: dict[int, Tensor], overlapping: bool) -> Tensor:
    """The probabilities ``(K, *S)`` of one row from the logits ``(K, *S)`` of those that are there."""
    each = {m: probability(z, overlapping) for m, z in row.items()}
    mean = sum(each.values()) / len(each)
    if name == "mean":
        return mean
    if name == "product":
        yes, no = (torch.stack(list(p)).prod(0) for p in (each.values(), [1 - p for p in each.values()]))
        return yes / (yes + no) if overlapping else yes / yes.sum(0)
    if name == "learned":
        weights = opinion.scores.detach().double()[list(each)].softmax(0)[..., None, None]
        mixed = (weights * torch.stack(list(each.values()))).sum(0)
        return mixed if overlapping else mixed / mixed.sum(0)
    votes = torch.zeros_like(mean)
    for p in each.values():
        votes += (p > 0.5) if overlapping else (p == p.amax(0, keepdim=True))
    return (votes + mean / 2) / (len(each) + 0.5)


@every
@both
@given(rows=rows_of, seed=st.integers(0, 10_000))
@modest
def test_it_is_what_its_formula_says(name: str, overlapping: bool, rows: list[list[bool]], seed: int) -> None:
    present, logits, opinion = torch.tensor(rows), draw(len(rows), seed), make(name, overlapping, seed)
    found = probability(opinion(logits, present).detach(), overlapping)
    for b, row in enumerate(rows):
        there = {m: logits[m][b] for m in range(M) if row[m]}
        if there:
            wanted = expected(name, opinion, there, overlapping)
        else:  # nobody knows anything
            wanted = torch.full_like(found[b], 0.5 if overlapping else 1 / K)
        torch.testing.assert_close(found[b], wanted, rtol=1e-4, atol=1e-5)


@every
@both
@given(rows=rows_of, filling=st.sampled_from([7.0, float("nan"), float("inf")]), seed=st.integers(0, 10_000))
@modest
def test_what_is_absent_has_no_effect_forward_or_backward(
    name: str, overlapping: bool, rows: list[list[bool]], filling: float, seed: int
) -> None:
    present, logits, opinion = torch.tensor(rows), draw(len(rows), seed), make(name, overlapping, seed)
    results = []
    for content in (0.0, filling):
        inputs = [z.clone() for z in logits]
        for row, m in (~present).nonzero().tolist():
            inputs[m][row] = content
        inputs = [z.requires_grad_() for z in inputs]
        opinion.zero_grad()
        merged = opinion(inputs, present)
        (merged * torch.linspace(-1, 1, merged.numel()).reshape(merged.shape)).sum().backward()
        gradients = [value.grad for value in (*inputs, *opinion.parameters())]
        assert all(g is not None and g.isfinite().all() for g in gradients)
        results.append([merged, *gradients])
    assert results[0][0].isfinite().all()
    assert all(torch.equal(zeroed, other) for zeroed, other in zip(*results, strict=True))


@every
@both
def test_sure_networks_stay_finite_and_keep_their_gradient(name: str, overlapping: bool) -> None:
    """Also where all of them are wrong."""
    one = draw(2, 0, scale=300.0)[0]
    logits = [(one * (m + 1)).requires_grad_() for m in range(M)]
    opinion = make(name, overlapping)
    opinion.train()
    merged = opinion(logits, torch.ones(2, M, dtype=torch.bool))
    assert merged.isfinite().all()
    target = merged.detach().argmin(1)
    (
        nn.functional.binary_cross_entropy_with_logits(merged, (merged.detach() < 0).float())
        if overlapping
        else nn.functional.cross_entropy(merged, target)
    ).backward()
    assert all(z.grad.isfinite().all() for z in logits)
    assert sum(float(z.grad.abs().sum()) for z in logits) > 0.5
    assert opinion.eval()(logits, torch.ones(2, M, dtype=torch.bool)).isfinite().all()


@both
def test_learned_starts_as_the_mean(overlapping: bool) -> None:
    present = torch.tensor([[True, True, False, True], [False, True, True, False]])
    logits = draw(2, 0)
    found = LearnedOpinion(M, K, overlapping)(logits, present)
    torch.testing.assert_close(found, MeanOpinion(overlapping)(logits, present))


@pytest.mark.parametrize("name", ["mean", "learned", "product"])
@both
def test_one_opinion_alone_is_heard_as_it_is(name: str, overlapping: bool) -> None:
    logits, present = draw(M, 0), torch.eye(M, dtype=torch.bool)
    found = probability(make(name, overlapping)(logits, present).detach(), overlapping)
    alone = torch.stack([probability(logits[m][m], overlapping) for m in range(M)])
    torch.testing.assert_close(found, alone, rtol=1e-4, atol=1e-6)


@both
@given(seed=st.integers(0, 10_000), row=st.lists(st.booleans(), min_size=M, max_size=M).filter(any))
@modest
def test_a_majority_is_never_overturned(overlapping: bool, seed: int, row: list[bool]) -> None:
    logits, present = draw(1, seed, scale=9.0), torch.tensor([row])
    found = VoteOpinion(overlapping).eval()(logits, present)[0]
    there = [z[0] for z, here in zip(logits, row, strict=True) if here]
    if overlapping:
        votes = torch.stack([z > 0 for z in there]).sum(0)
        clear = 2 * votes != len(there)
        assert torch.equal((found > 0)[clear], (2 * votes > len(there))[clear])
    else:
        votes = sum(nn.functional.one_hot(z.argmax(0), K).movedim(-1, 0) for z in there)
        assert (votes.gather(0, found.argmax(0, keepdim=True)) == votes.amax(0)).all()


def test_a_tie_goes_to_the_greater_mean_probability() -> None:
    sure, faint = torch.tensor([0.0, 5.0, 0.0]), torch.tensor([0.5, 0.0, 0.0])
    logits = [z.reshape(1, K, 1, 1) for z in (sure, faint)]
    present = torch.ones(1, 2, dtype=torch.bool)
    assert VoteOpinion(False).eval()(logits, present).argmax(1).item() == 1
    yes_or_no = [z.reshape(1, 1, 1, 1) for z in (torch.tensor(3.0), torch.tensor(-1.0))]
    assert VoteOpinion(True).eval()(yes_or_no, present).item() > 0


@both
def test_votes_are_cast_in_evaluation_alone(overlapping: bool) -> None:
    logits, present = draw(2, 0), torch.ones(2, M, dtype=torch.bool)
    vote = VoteOpinion(overlapping)
    assert torch.equal(vote.train()(logits, present), MeanOpinion(overlapping)(logits, present))
    assert not torch.allclose(vote.eval()(logits, present), MeanOpinion(overlapping)(logits, present))
