"""Training an encoder more gently than the rest: stages frozen at first, freed later, at lower rates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import lightning as L
from torch import nn

from medseg.contracts import Encoder
from medseg.errors import UserError
from medseg.training.settings import FinetuningSettings

Parameters = list[nn.Parameter]


def encoders(network: nn.Module) -> Iterator[nn.Module]:
    """The encoders in a network, outermost ones only."""
    if isinstance(network, Encoder):
        yield network
        return
    for child in network.children():
        yield from encoders(child)


def stages(network: nn.Module) -> list[Parameters]:
    """Per stage of the encoders, from the image on, the parameters; several encoders side by side.

    An encoder names its stages as ``stages``, one module each, or as ``parameter_stages``.
    """
    found: list[Parameters] = []
    for encoder in encoders(network):
        for level, parameters in enumerate(_of_encoder(encoder)):
            found.extend([] for _ in range(level + 1 - len(found)))
            known = set(found[level])
            found[level].extend(p for p in parameters if p not in known)
    return found


def _of_encoder(encoder: nn.Module) -> list[Parameters]:
    given: Any = getattr(encoder, "parameter_stages", None)
    if given is None:
        modules: Any = getattr(encoder, "stages", ())
        given = [list(stage.parameters()) for stage in modules]
    return [[p for p in stage if p.requires_grad] for stage in given]


def load_pretrained(network: nn.Module) -> list[dict[str, Any]]:
    """Lets each part that was given pretrained weights load them.

    Returns:
        Where they came from, for the record: file and SHA-256.

    Raises:
        UserError: weights that are not there or do not fit.
    """
    found = []
    for module in network.modules():
        load = getattr(module, "load_pretrained", None)
        if load is not None and (source := load()) is not None:
            found.append(asdict(source))
    return found


class Stages:
    """The encoder's stages of one network and what is done with them.

    Args:
        network: as it was built, before anything is frozen.
        settings: which stages are frozen until when, and the learning rates.

    Raises:
        UserError: the network has no stages, or fewer than the settings speak of.
    """

    def __init__(self, network: nn.Module, settings: FinetuningSettings) -> None:
        self.network, self.settings = network, settings
        self.frozen: frozenset[nn.Parameter] = frozenset()
        self.stages = stages(network)
        self.trainable = [p for p in network.parameters() if p.requires_grad]
        if not settings.active:
            return
        if not self.stages:
            problem = "this network has no encoder stages to freeze or to train at other rates"
            raise UserError("finetuning", problem, "use finetuning=none, or another network")
        if max(settings.frozen_stages, len(settings.unfreeze_epochs)) > len(self.stages):
            problem = f"the encoder has {len(self.stages)} stages, fewer than are named"
            raise UserError("finetuning.frozen_stages", problem, f"give at most {len(self.stages)}")

    def frozen_at(self, epoch: int) -> int:
        """How many stages, from the image on, are frozen in an epoch."""
        first = self.settings.frozen_stages
        first = len(self.stages) if first < 0 else first
        return max(0, first - sum(epoch >= k for k in self.settings.unfreeze_epochs))

    def freeze(self, epoch: int, in_graph: bool = False) -> None:
        """Freezes the stages of this epoch and frees the others.

        A frozen parameter has no gradient, so the optimizer neither moves it nor keeps a state for it; a
        norm whose parameters are frozen keeps its running statistics.

        Args:
            epoch: counted from 0.
            in_graph: whether frozen parameters get gradients all the same, which `mask` then drops: DDP
                has settled at the start which gradients it waits for.
        """
        if not self.settings.active:
            return
        frozen = {p for stage in self.stages[: self.frozen_at(epoch)] for p in stage}
        self.frozen = frozenset(frozen) if in_graph else frozenset()
        for parameter in self.trainable:
            parameter.requires_grad_(in_graph or parameter not in frozen)
        for module in self.network.modules():
            own: list[Any] = list(module.parameters(recurse=False))
            if own and list(module.buffers(recurse=False)):
                module.train(not frozen.issuperset(own))

    def mask(self) -> None:
        """Drops the gradients of what is frozen, before they are clipped or used."""
        for parameter in self.frozen:
            parameter.grad = None

    def rates(self) -> list[tuple[Parameters, float]]:
        """Groups of parameters and their learning rate as a share of the optimizer's."""
        settings = self.settings
        deepest = len(self.stages) - 1
        groups = [
            (stage, settings.encoder_rate * settings.stage_decay ** (deepest - level))
            for level, stage in enumerate(self.stages if settings.active else [])
        ]
        known = {p for stage, _ in groups for p in stage}
        rest = [p for p in self.trainable if p not in known]
        return [group for group in [*groups, (rest, 1.0)] if group[0]]


class Unfreezing(L.Callback):
    """Freezes what is frozen in each epoch; the epoch alone decides, so a resumed run does the same."""

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Lightning has put every module into training mode by now."""
        of_network: Stages = pl_module.stages  # type: ignore[assignment]
        of_network.freeze(trainer.current_epoch, in_graph=trainer.world_size > 1)

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        """Gradients are whole by now, and not yet clipped."""
        of_network: Stages = pl_module.stages  # type: ignore[assignment]
        of_network.mask()
