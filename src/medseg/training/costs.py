"""What a training has cost, over all restarts."""

from __future__ import annotations

import time
from typing import Any

import lightning as L
import torch
import torch.distributed as dist


class Costs(L.Callback):
    """Sums GPU time and keeps the largest memory, in checkpoints too.

    Attributes:
        gpu_hours: time spent training times the GPUs that took part; 0 without one.
        peak_memory_gb: of the rank that needed most: allocated on its GPU, or resident where there is none.
        parameters: of the network and the objective that are trained.
    """

    def __init__(self) -> None:
        self.gpu_hours, self.peak_memory_gb, self.parameters = 0.0, 0.0, 0
        self._since = time.monotonic()

    def facts(self, minutes: float, steps: int) -> dict[str, float | int]:
        """For the record.

        Args:
            minutes: spent training so far.
            steps: optimizer steps taken.
        """
        return {
            "train_minutes": round(minutes, 3),
            "gpu_hours": round(self.gpu_hours, 5),
            "peak_memory_gb": round(self.peak_memory_gb, 3),
            "parameters": self.parameters,
            "steps": steps,
        }

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Counts the parameters, wherever their parts are."""
        self.parameters = sum(p.numel() for p in pl_module.parameters() if p.requires_grad)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts the clock."""
        self._since = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Looks at the memory of the process, which nothing else keeps the largest of."""
        if pl_module.device.type != "cuda":
            import psutil

            self._keep(psutil.Process().memory_info().rss)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Brings the sums up to date, on all ranks alike."""
        on_gpu = pl_module.device.type == "cuda"
        if on_gpu:
            self._keep(torch.cuda.max_memory_allocated(pl_module.device))
        now = time.monotonic()
        self.gpu_hours += (now - self._since) / 3600 * trainer.world_size * on_gpu
        self._since = now
        if trainer.world_size > 1:
            largest = torch.tensor(self.peak_memory_gb, dtype=torch.float64, device=pl_module.device)
            dist.all_reduce(largest, dist.ReduceOp.MAX)
            self.peak_memory_gb = float(largest)

    def _keep(self, size: int) -> None:
        self.peak_memory_gb = max(self.peak_memory_gb, size / 2**30)

    def state_dict(self) -> dict[str, float]:
        """The sums, so that a resumed training goes on adding."""
        return {"gpu_hours": self.gpu_hours, "peak_memory_gb": self.peak_memory_gb}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Takes them back."""
        self.gpu_hours, self.peak_memory_gb = state_dict["gpu_hours"], state_dict["peak_memory_gb"]
