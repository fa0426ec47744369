"""The clock of the waits: what is on it, what is not, and what a GPU's own pace makes of a wait."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import lightning as L
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medseg.contracts import Batch
from medseg.patches.datamodule import PatchDataModule
from medseg.patches.interface import Crew, Part
from medseg.training.waiting import NAME, DataWait, Step, waited_seconds

SECONDS = st.floats(0.0, 10.0)


@given(waits=st.lists(st.tuples(SECONDS, SECONDS), max_size=20), start=SECONDS)
def test_on_a_cpu_every_wait_counts(waits: list[tuple[float, float]], start: float) -> None:
    steps, now = [], start
    for waited, computed in waits:
        now += waited + computed
        steps.append(Step(now, now, waited))
    assert waited_seconds(start, steps) == pytest.approx(sum(waited for waited, _ in waits), abs=1e-6)


@given(rounds=st.lists(st.tuples(SECONDS, st.floats(0.0, 0.5), SECONDS), max_size=20))
def test_on_a_gpu_a_wait_counts_while_the_device_is_idle(rounds: list[tuple[float, float, float]]) -> None:
    """A simulated pair: the host waits and launches, the device begins when both are ready."""
    steps, host, device, idle = [], 0.0, 0.0, 0.0
    for waited, launching, computing in rounds:
        came = host + waited
        idle += min(max(came - device, 0.0), waited)
        begun = max(came, device)
        host = came + launching
        device = max(begun + computing, host)
        steps.append(Step(host, device, waited))
    found = waited_seconds(0.0, steps)
    assert found == pytest.approx(idle, abs=1e-9)
    assert 0 <= found <= sum(waited for waited, _, _ in rounds) + 1e-9


def test_a_device_that_is_busy_throughout_has_not_waited() -> None:
    """The host waits 0.9 s of every second for batches that the device is not ready for."""
    steps = [Step(n + 1.0, n + 2.0, 0.9) for n in range(50)]
    assert waited_seconds(0.0, steps) == pytest.approx(0.9)  # the first alone, when the device was idle


class Slow:
    """A queue whose every batch takes at least ``seconds``."""

    labelled = False

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def batches(self, part: Part, crew: Crew) -> Iterator[Batch]:
        for epoch, number in part.places():
            time.sleep(self.seconds)
            image = torch.ones(part.batch_size, 1, 2, 2, 2)
            index = torch.tensor([[epoch, number]] * part.batch_size)
            yield Batch(image, None, torch.ones(part.batch_size, 1, dtype=torch.bool), index, ["a"])


class Small(L.LightningModule):
    """One weight; a validation that takes its time, which is added up."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.validated = torch.nn.Parameter(torch.ones(())), 0.0

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> torch.Tensor:
        return (batch["unlabelled"].image * self.weight).mean()

    def validation_step(self, batch: dict[str, Batch], batch_idx: int) -> None:
        begun = time.perf_counter()
        time.sleep(0.05)
        self.validated += time.perf_counter() - begun

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Logged(L.Callback):
    """What was logged, epoch by epoch."""

    def __init__(self) -> None:
        self.shares: list[float] = []

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.shares.append(float(trainer.callback_metrics[NAME]))


def fit(
    folder: Path, waiting: DataWait, steps: int, epochs: int, seconds: float = 0.01
) -> tuple[Small, PatchDataModule, list[float], float]:
    """Trains; the module, the data, the logged shares and the seconds that it all took."""
    data = PatchDataModule(
        {"unlabelled": Slow(seconds)}, Slow(0.0), 1, steps, workers=0, validation_samples=1
    )
    module, logged = Small(), Logged()
    trainer = L.Trainer(
        max_epochs=epochs, accelerator="cpu", callbacks=[waiting, logged], default_root_dir=folder,
        logger=False, enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        num_sanity_val_steps=0, use_distributed_sampler=False,
    )  # fmt: skip
    begun = time.perf_counter()
    trainer.fit(module, data)
    return module, data, logged.shares, time.perf_counter() - begun


def test_a_training_is_clocked_without_validation_and_first_batch(tmp_path: Path) -> None:
    waiting = DataWait()
    module, data, shares, whole = fit(tmp_path, waiting, steps=3, epochs=3)
    assert data.loader is not None
    assert len(shares) == 3
    assert waiting.first_batch >= 0.01
    assert waiting.waited == pytest.approx(data.loader.waited_seconds - waiting.first_batch)
    assert waiting.waited >= 8 * 0.01, "nine batches but for the first"
    assert waiting.waited <= waiting.clocked <= whole - module.validated - waiting.first_batch
    assert all(0 < share <= 1 for share in shares)
    assert min(shares) <= waiting.share <= max(shares)


def test_an_epoch_of_the_first_batch_alone_has_no_share(tmp_path: Path) -> None:
    waiting = DataWait()
    assert math.isnan(waiting.share)
    _, _, shares, _ = fit(tmp_path, waiting, steps=1, epochs=2)
    assert math.isnan(shares[0])
    assert 0 < shares[1] <= 1
    assert waiting.facts()["share"] is not None


def test_a_resumed_training_goes_on_adding(tmp_path: Path) -> None:
    first, second = DataWait(), DataWait()
    fit(tmp_path, first, steps=2, epochs=1)
    second.load_state_dict(first.state_dict())
    assert second.share == first.share
    fit(tmp_path, second, steps=2, epochs=1)
    assert second.clocked > first.clocked
    assert second.waited >= first.waited + 0.01
    assert DataWait().facts()["share"] is None
