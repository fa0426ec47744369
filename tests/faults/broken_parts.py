"""A loss that breaks a rank, as the variable ``BREAK`` says: ``HOW RANK CALL FILE``, as in ``kill 1 3 mark``.

The file is left when it happens.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from torch import Tensor, nn

from medseg.contracts import Labels
from medseg.losses.dice_ce import DiceCE


class Breaking(nn.Module):
    """As ``dice_ce`` up to then."""

    def __init__(self, labels: Labels) -> None:
        super().__init__()
        self.labels, self.inner, self.calls = labels, DiceCE(labels), 0

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """The loss."""
        self.calls += 1
        value: Tensor = self.inner(logits, label)
        how, rank, call, mark = os.environ.get("BREAK", "not - 0 -").split()
        if self.calls != int(call) or rank != os.environ.get("RANK", "0"):
            return value
        Path(mark).touch()
        if how == "nan":
            return value * float("nan")
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if how == "sleep":
            time.sleep(600)
        raise RuntimeError("the disk is on fire")
