"""What Lightning is told of the ranks: who they are, and how they share the work of a step."""

from __future__ import annotations

import torch
import torch.distributed as dist
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch import Tensor, nn

from medseg.errors import UserError
from medseg.training.ranks import Ranks
from medseg.training.settings import TrainingSettings


class KnownRanks(ClusterEnvironment):
    """Ranks that are known already, so that Lightning looks for no others and starts none.

    Args:
        ranks: the place of this process.
    """

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    @property
    def creates_processes_externally(self) -> bool:
        """All processes are there."""
        return True

    @property
    def main_address(self) -> str:
        """Of rank zero's machine."""
        return self.ranks.address

    @property
    def main_port(self) -> int:
        """Where they have met."""
        return self.ranks.port

    @staticmethod
    def detect() -> bool:
        """Never by itself."""
        return False

    def world_size(self) -> int:
        """Of all machines."""
        return self.ranks.world

    def set_world_size(self, size: int) -> None:
        """It is known."""

    def global_rank(self) -> int:
        """Among all."""
        return self.ranks.rank

    def set_global_rank(self, rank: int) -> None:
        """It is known."""

    def local_rank(self) -> int:
        """On this machine."""
        return self.ranks.local_rank

    def node_rank(self) -> int:
        """Of this machine."""
        return self.ranks.node


def strategy_for(training: TrainingSettings, ranks: Ranks) -> Strategy | str:
    """How Lightning runs a step on these ranks."""
    if ranks.world == 1:
        return "auto"
    if training.strategy == "fsdp":
        from medseg.training.sharding import FullySharded

        return FullySharded(ranks.world)
    return DDPStrategy(find_unused_parameters=False)


def part_of_batch(field: str, size: int, training: TrainingSettings) -> int:
    """What one rank computes at a time of a batch that all ranks share.

    Raises:
        UserError: it does not divide.
    """
    parts = training.world * training.accumulate
    if size % parts:
        ranks = f"{training.world} ranks x {training.accumulate} parts"
        larger = -(-size // parts) * parts
        raise UserError(field, f"{size} patches cannot be shared by {ranks}", f"give {larger}, for example")
    return size // parts


def refuse_devices(training: TrainingSettings, device: str) -> None:
    """Before any process is started: what this machine has not, or cannot do.

    Raises:
        UserError: fewer GPUs than asked for, or an option that needs them.
    """
    if device == "cuda" and torch.cuda.device_count() < training.devices:
        problem = f"{training.devices} GPUs are asked for and {torch.cuda.device_count()} are here"
        raise UserError("training.devices", problem, "ask for fewer, or training.accelerator=cpu")
    if device == "cpu" and training.sync_batchnorm and training.world > 1:
        problem = "PyTorch's synchronised batch norm runs on GPUs alone"
        raise UserError("training.sync_batchnorm", problem, "leave it out, or use an instance norm")


def agree_on_buffers(network: nn.Module, world: int) -> None:
    """Gives every rank the buffers of rank zero, as checkpoints have them: statistics of batch norms."""
    for buffer in network.buffers() if world > 1 else ():
        dist.broadcast(buffer, 0)


def device_of(accelerator: str) -> torch.device:
    """The device that ``training.accelerator`` means here.

    Raises:
        UserError: it is ``gpu`` and there is none.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise UserError("training.accelerator", "there is no GPU here", "use auto or cpu")
    wants_gpu = accelerator == "gpu" or (accelerator == "auto" and torch.cuda.is_available())
    return torch.device("cuda" if wants_gpu else "cpu")


def own_part(value: Tensor) -> Tensor:
    """The part of a tensor that this rank has; all of it, unless it is sharded."""
    local = getattr(value, "to_local", None)
    return value if local is None else local()


def gathered(value: Tensor) -> Tensor:
    """A tensor with all of its parts; all ranks must ask together."""
    full = getattr(value, "full_tensor", None)
    return value if full is None else full()
