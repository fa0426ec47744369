"""How the weight of an uncertain term grows in the beginning."""

from __future__ import annotations

import math

from medseg.contracts import Progress


def sigmoid_ramp(progress: Progress, share: float) -> float:
    """``exp(-5 (1 - t)^2)``, t from 0 to 1 over the first ``share`` of the steps (Laine and Aila 2017)."""
    if share <= 0:
        return 1.0
    t = min(progress.step / (share * progress.total_steps), 1.0)
    return math.exp(-5.0 * (1.0 - t) ** 2)
