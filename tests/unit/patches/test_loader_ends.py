"""A loader's threads end with it: with the fit, with the interpreter, by an interrupt."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch

from medseg.contracts import Batch
from medseg.patches.datamodule import PatchDataModule

from .number_queue import SIZE, STEPS, Numbers, expected, given, threads


class Trained(L.LightningModule):
    """Stops as it is told."""

    def __init__(self, ends: BaseException | None) -> None:
        super().__init__()
        self.weight, self.ends, self.seen = torch.nn.Parameter(torch.zeros(1)), ends, list[Any]()

    def training_step(self, batch: dict[str, Batch], batch_idx: int) -> torch.Tensor:
        self.seen += given(batch)
        if self.ends is not None and len(self.seen) == 8 * SIZE:
            raise self.ends
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


@pytest.mark.parametrize("ends", [None, ValueError("stop"), KeyboardInterrupt()])
def test_a_fit_leaves_no_thread_however_it_ends(tmp_path: Path, ends: BaseException | None) -> None:
    queue, model = Numbers(), Trained(ends)
    data = PatchDataModule({"numbers": queue}, None, SIZE, STEPS, workers=2)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False, max_epochs=3,
        enable_checkpointing=False, use_distributed_sampler=False, default_root_dir=tmp_path,
    )  # fmt: skip
    with suppress(ValueError, SystemExit):  # how a fit ends that does not get to its end
        trainer.fit(model, data)
    gc.collect()
    assert threads() == 0
    assert model.seen == [s for epoch in range(3) for s in expected(epoch)][: len(model.seen)]
    assert len(model.seen) == (3 * STEPS if ends is None else 8) * SIZE
    assert data.loader is not None
    assert data.loader.batches_given == len(model.seen) // SIZE
    assert data.state_dict() == ({"epoch": 3, "batch": 0} if ends is None else {"epoch": 1, "batch": 3})


LEFT_OPEN = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background hands on "ignored"
sys.path.insert(0, sys.argv[1])
from number_queue import Numbers, a_loader
queue = Numbers()
fill = queue._fill
queue._fill = lambda *a: (time.sleep(0.01), fill(*a))[1]
border, middle = a_loader(queue), a_loader(queue)
for batch in border:
    pass
batches = iter(middle)
next(batches)
print("ready", flush=True)
while sys.argv[2] == "interrupted":
    for batch in border:
        pass
"""


@pytest.mark.parametrize("how", ["finished", "interrupted"])
def test_the_interpreter_ends_with_loaders_left_open(how: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", LEFT_OPEN, str(Path(__file__).parent), how],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    if how == "interrupted":
        process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGINT if how == "interrupted" else 0), told
    assert ("KeyboardInterrupt" in told) == (how == "interrupted")
    assert "Exception ignored" not in told
