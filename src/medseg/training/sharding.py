"""A network in parts: each rank keeps its share of every weight, gradient and moment (FSDP2).

Lightning's own ``fsdp`` is refused on CPUs; its `ModelParallelStrategy` shards there too, over gloo.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.strategies import ModelParallelStrategy
from torch import nn
from torch.distributed.fsdp import fully_shard

from medseg.training.checkpoints import AtomicCheckpointIO
from medseg.training.finetuning import Stages
from medseg.training.group import STEP
from medseg.training.parallel import gathered


class FullySharded(ModelParallelStrategy):
    """Shards over all ranks; checkpoints are whole, and rank zero alone writes them.

    Args:
        world: how many ranks there are.
    """

    def __init__(self, world: int) -> None:
        super().__init__(
            data_parallel_size=world,
            tensor_parallel_size=1,
            save_distributed_checkpoint=False,
            timeout=STEP,
        )

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """The parts have been gathered in ``checkpoint`` by now, on rank zero."""
        if self.is_global_zero:
            AtomicCheckpointIO().save_checkpoint(checkpoint, Path(filepath))

    def load_checkpoint(self, checkpoint_path: Any, weights_only: bool | None = None) -> dict[str, Any]:
        """Each rank takes its parts; nothing is unpickled, whatever is asked for."""
        with _unhooked(self.optimizers):
            return super().load_checkpoint(checkpoint_path, weights_only=True)


@contextmanager
def _unhooked(optimizers: Iterable[Any]) -> Iterator[None]:
    """To have moments to fill, PyTorch takes a step of its own, after which no teacher may follow."""
    hooks = [optimizer._optimizer_step_post_hooks for optimizer in optimizers]
    kept = [dict(each) for each in hooks]
    for each in hooks:
        each.clear()
    try:
        yield
    finally:
        for each, before in zip(hooks, kept, strict=True):
            each.update(before)


def shard(module: Any) -> None:
    """Shards the network of a LightningModule, and the networks of its objective, each as one.

    Only under a strategy that shards, and once.

    A moving average is sharded as the network is, so that it follows part by part. The weights of a network
    are gathered for a step; between steps, and for gradients and moments always, a rank has its part.

    Args:
        module: a `SegmentationModule`; ``unsharded`` becomes a copy to be filled by `whole`.
    """
    if module.device_mesh is None or module.unsharded:
        return
    module.unsharded.append(_emptied(module.network))
    for network in (module.network, *_called(module.objective)):
        # Also after the forward of the whole network: a teacher, and validation, have no backward for it.
        fully_shard(network, mesh=module.device_mesh["data_parallel"], reshard_after_forward=True)
    module.stages = Stages(module.network, module.finetuning)  # of the weights as they are now


def whole(module: Any) -> nn.Module:
    """What a LightningModule deploys, with all of its weights on this rank.

    Ranks that predict cases of their own cannot gather weights from each other at each layer. So a sharded
    network is copied, without its shards, and filled; all ranks must ask for it together.
    """
    network: nn.Module = module.deployed
    if not module.unsharded:
        return network
    plain = copy.deepcopy(module.unsharded[0])
    weights = {name: gathered(value).detach() for name, value in network.state_dict().items()}
    plain.load_state_dict(weights, assign=True)
    filled: nn.Module = plain.to(module.device).train(network.training)
    return filled


def _called(objective: nn.Module) -> list[nn.Module]:
    """The outermost modules of an objective that have parameters and that it calls."""
    found = []
    for child in objective.children():
        inner = getattr(child, "network", None)  # of a moving average, which is never called itself
        chosen = inner if isinstance(inner, nn.Module) else child
        if any(True for _ in chosen.parameters()):
            found.append(chosen)
    return found


def _emptied(network: nn.Module) -> nn.Module:
    """A copy whose weights take no memory; buffers that no checkpoint has, such as index tables, are kept."""
    plain = copy.deepcopy(network)
    for part in plain.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            setattr(part, name, nn.Parameter(weight.detach().to("meta"), requires_grad=False))
    return plain
