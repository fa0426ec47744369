from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from medseg.training.optimizers import build_optimizer, build_schedule, rate_at
from medseg.training.settings import OPTIMIZERS, SCHEDULES, OptimizerSettings, ScheduleSettings


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weight_decay_spares_biases_and_norms(name: str) -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3), nn.InstanceNorm3d(2, affine=True))
    optimizer = build_optimizer(OptimizerSettings(name=name, weight_decay=0.5), [(network.parameters(), 1.0)])
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert len(decays) == 4
    assert {p.ndim: decays[id(p)] for p in network.parameters()} == {5: 0.5, 1: 0.0}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_frozen_weights_have_no_optimizer_state(name: str) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    network[0].requires_grad_(False)
    optimizer = build_optimizer(OptimizerSettings(name=name), [(network.parameters(), 1.0)])
    network(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert {id(p) for p in optimizer.state} <= {id(p) for p in network[1].parameters()}


@given(
    total=st.integers(1, 2000),
    share=st.floats(0, 0.5),
    name=st.sampled_from(SCHEDULES),
    final=st.floats(0, 1),
)
def test_the_rate_rises_then_never_does_again(total: int, share: float, name: str, final: float) -> None:
    settings = ScheduleSettings(name=name, warmup_share=share, final_share=final)
    rates = [rate_at(step, settings, total) for step in range(total + 1)]
    warmup = round(share * total)
    assert all(a < b for a, b in pairwise(rates[: warmup + 1]))
    assert all(a >= b - 1e-12 for a, b in pairwise(rates[warmup:]))
    assert max(rates) <= 1.0 + 1e-12
    if name != "constant":
        assert rates[-1] == pytest.approx(final if total > warmup else rates[-1])


def test_formulas() -> None:
    half = ScheduleSettings(name="cosine", warmup_share=0.0)
    assert rate_at(50, half, 100) == pytest.approx(0.5)
    assert rate_at(25, half, 100) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert rate_at(30, ScheduleSettings(name="polynomial", warmup_share=0.0), 100) == pytest.approx(0.7**0.9)


def test_groups_keep_their_share_of_the_rate_under_the_schedule() -> None:
    slow, fast = nn.Linear(2, 2), nn.Linear(2, 2)
    rates = [(slow.parameters(), 0.1), (fast.parameters(), 1.0)]
    optimizer = build_optimizer(OptimizerSettings(lr=0.2), rates)
    schedule = build_schedule(ScheduleSettings(warmup_share=0.0), optimizer, 10)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    found = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert [found[id(p)] for p in slow.parameters()] == pytest.approx([0.01, 0.01])
    assert [found[id(p)] for p in fast.parameters()] == pytest.approx([0.1, 0.1])


def test_the_schedule_reaches_the_optimizer() -> None:
    optimizer = build_optimizer(OptimizerSettings(lr=0.1), [(nn.Linear(2, 2).parameters(), 1.0)])
    schedule = build_schedule(ScheduleSettings(warmup_share=0.0), optimizer, 10)
    for _ in range(5):
        optimizer.step()
        schedule.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)
