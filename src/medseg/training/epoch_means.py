"""What an epoch has logged so far, kept in a checkpoint within the epoch.

Lightning means a number over the batches of an epoch and forgets them when a training is resumed within it.
So the sums go with the checkpoint, and are added back once the first batch has been logged again.
"""

from __future__ import annotations

from typing import Any

import lightning as L

State = dict[str, Any]


class EpochMeans:
    """The sums and weights of the numbers that training steps have logged for the mean over their epoch.

    Attributes:
        state: name -> ``(sum, weight)``; empty but for a checkpoint within an epoch.
    """

    def __init__(self) -> None:
        self.state: State = {}

    def keep(self, trainer: L.Trainer) -> None:
        """Remembers the epoch so far."""
        self.state = {
            name: (float(metric.value), int(metric.cumulated_batch_size))
            for name, metric in _means(trainer).items()
        }

    def complete(self, trainer: L.Trainer) -> None:
        """Adds what was remembered to what the first batch after a resume has logged."""
        if not self.state:
            return
        for name, metric in _means(trainer).items():
            total, weight = self.state.get(name, (0.0, 0))
            metric.value = metric.value + total
            metric.cumulated_batch_size = metric.cumulated_batch_size + weight
        self.state = {}


def _means(trainer: L.Trainer) -> dict[str, Any]:
    """Lightning's own sums, by name."""
    results = trainer.fit_loop.epoch_loop._results
    return {name: metric for name, metric in results.items() if metric.meta.is_mean_reduction}
