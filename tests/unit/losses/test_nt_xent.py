from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.losses.masked_reconstruction import masked_reconstruction
from medseg.losses.nt_xent import gather_rows, nt_xent


def naive_nt_xent(left: torch.Tensor, right: torch.Tensor, temperature: float) -> torch.Tensor:
    """By the formula of Chen 2020, row by row."""
    rows, n = [*left, *right], len(left)

    def similarity(i: int, j: int) -> torch.Tensor:
        return rows[i] @ rows[j] / (rows[i].norm() * rows[j].norm()) / temperature

    total = torch.zeros((), dtype=left.dtype)
    for i in range(2 * n):
        partner = (i + n) % (2 * n)
        others = sum((similarity(i, k).exp() for k in range(2 * n) if k != i), torch.zeros(()))
        total = total - (similarity(i, partner).exp() / others).log()
    return total / (2 * n)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 5), st.sampled_from([0.1, 0.5, 2.0]))
def test_value_and_gradient_are_those_of_the_formula(seed: int, n: int, channels: int, temp: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(n, channels, generator=generator) for _ in range(2)]
    # rows next to zero have gradients of rounding errors
    pair = [(rows + 0.5 * rows.sign()).requires_grad_() for rows in drawn]
    loss, matched = nt_xent(pair[0], pair[1], temp)
    expected = naive_nt_xent(pair[0], pair[1], temp)
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-4, abs=1e-5)
    ours, theirs = torch.autograd.grad(loss, pair), torch.autograd.grad(expected, pair)
    for mine, his in zip(ours, theirs, strict=True):
        assert torch.allclose(mine, his, rtol=1e-3, atol=1e-4)
    assert 0 <= matched <= 1
    assert not matched.requires_grad


def test_partners_that_are_alike_are_found_and_one_pair_has_nothing_to_tell_apart() -> None:
    rows = torch.eye(4)
    loss, matched = nt_xent(rows, 3 * rows, 0.1)
    assert matched == 1
    assert float(loss) == pytest.approx(math.log1p(6 * math.exp(-10)), rel=1e-3)
    assert float(nt_xent(rows[:1], rows[1:2], 0.1)[0]) == pytest.approx(0, abs=1e-6)


def test_half_precision_around_it_changes_little() -> None:
    left, right = torch.randn(2, 8, 16, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nt_xent(left, right, 0.1)[0]
    assert found.dtype == torch.float32
    assert float(found) == float(nt_xent(left, right, 0.1)[0])


def test_one_process_gathers_itself() -> None:
    rows = torch.randn(3, 2)
    assert gather_rows(rows) is rows


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["l1", "l2"]), st.sampled_from([(3, 4), (2, 3, 2)]))
def test_reconstruction_is_the_mean_over_hidden_voxels(
    seed: int, penalty: str, size: tuple[int, ...]
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shape = (2, 2, *size)
    guess, image = (torch.randn(shape, generator=generator) for _ in range(2))
    hidden = torch.rand(shape, generator=generator) < 0.5
    errors = [
        abs(g - i) if penalty == "l1" else (g - i) ** 2
        for g, i, h in zip(
            guess.flatten().tolist(), image.flatten().tolist(), hidden.flatten().tolist(), strict=True
        )
        if h
    ]
    guess.requires_grad_()
    found = masked_reconstruction(guess, image, hidden, penalty)  # type: ignore[arg-type]
    assert float(found.detach()) == pytest.approx(math.fsum(errors) / max(1, len(errors)), rel=1e-4, abs=1e-6)
    gradient = torch.autograd.grad(found, guess)[0]
    assert not gradient[~hidden].any()


def test_nothing_hidden_is_no_loss_even_beside_nan() -> None:
    guess = torch.full((1, 1, 2, 2), torch.nan)
    hidden = torch.zeros(1, 1, 2, 2, dtype=torch.bool)
    assert float(masked_reconstruction(guess, torch.zeros(1, 1, 2, 2), hidden, "l1")) == 0
