"""The words that every room shares: what a batch, a network, a loss and an objective are.

Nothing here imports torch while running, so checking a configuration stays cheap.
Shapes: ``B`` batch, ``M`` modalities, ``K`` output channels, ``*S`` space, that is ``(W, H, D)`` for
3D and ``(W, H)`` for 2D.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

if TYPE_CHECKING:
    import torch
    from torch import Tensor

IGNORE = 255
"""The code of voxels that no loss and no metric may look at."""


@dataclass(frozen=True)
class Labels:
    """What the numbers in a label file mean.

    Inside medseg a label is one ``uint8`` volume of *codes*: 0 background, 1.. foreground,
    ``IGNORE`` ignored. Exclusive classes get one code each, in order. Overlapping regions are unions
    of codes: every file value that occurs in a region gets its own code, in increasing order.

    Attributes:
        names: the classes or regions that are predicted and scored, without the background.
        values: the values in the label files that make up each name.
        overlapping: ``True`` for regions (sigmoid per row), ``False`` for exclusive classes (softmax).
            Regions go from the outermost to the innermost, as in BraTS (WT, TC, ET).
        ignore: the file value to leave out of losses and metrics.
    """

    names: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    overlapping: bool = False
    ignore: int | None = None

    @property
    def out_channels(self) -> int:
        """Channels of the logits: classes with background first, or one per region."""
        return len(self.names) + (0 if self.overlapping else 1)

    @property
    def code_of(self) -> dict[int, int]:
        """File value -> code, without background and ignore."""
        if self.overlapping:
            atoms = sorted({value for row in self.values for value in row})
            return {value: code for code, value in enumerate(atoms, start=1)}
        return {value: code for code, row in enumerate(self.values, start=1) for value in row}

    @property
    def members(self) -> tuple[tuple[int, ...], ...]:
        """The codes that make up each name, in the order of ``names``."""
        codes = self.code_of
        return tuple(tuple(sorted({codes[value] for value in row})) for row in self.values)

    @property
    def painted(self) -> tuple[int, ...]:
        """The file value written for each name when a prediction is saved.

        A region is painted with the first of its values that no later (inner) region has.
        """
        later: list[set[int]] = [
            {v for row in self.values[k + 1 :] for v in row} if self.overlapping else set()
            for k in range(len(self.names))
        ]
        return tuple(
            next((v for v in row if v not in inner), row[0])
            for row, inner in zip(self.values, later, strict=True)
        )


@dataclass
class Batch:
    """What a patch queue hands to training.

    Attributes:
        image: ``(B, M, *S)`` float32; a missing modality is all zero. In 2.5D ``(B, M * slices, W, H)``: each
            modality's neighbouring slices after one another.
        label: ``(B, 1, *S)`` uint8 codes (see `Labels`), or ``None`` for an unlabelled stream.
        present: ``(B, M)`` bool, which modalities the case has.
        index: ``(B, 2)`` int64, epoch and number of each sample, from which it can be made again.
        case: the case ids, ``B`` of them.
    """

    image: Tensor
    label: Tensor | None
    present: Tensor
    index: Tensor
    case: list[str]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The batch on another device."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory; the loader calls this when a GPU waits."""
        return self._each(lambda tensor: tensor.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        label = None if self.label is None else change(self.label)
        image, present, index = change(self.image), change(self.present), change(self.index)
        return Batch(image, label, present, index, self.case)


@dataclass(frozen=True)
class Topology:
    """The shape of a network that the plan has decided; every architecture is built from one.

    Attributes:
        spatial_dims: 2 or 3.
        patch_size: voxels per axis that the network is trained on, ``spatial_dims`` long.
        strides: per level the step from the level above, per axis; the first is all ones.
        kernels: per level the kernel size, per axis.
        widths: per level the channels.
        multiple: what each axis of the patch must be a multiple of, besides the strides.
    """

    spatial_dims: int
    patch_size: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    widths: tuple[int, ...]
    multiple: int = 1

    @property
    def divisor(self) -> tuple[int, ...]:
        """Per axis the number that a patch must be a multiple of."""
        return tuple(math.lcm(math.prod(axis), self.multiple) for axis in zip(*self.strides, strict=True))


@dataclass(frozen=True)
class Pyramid:
    """What an encoder publishes and all that a decoder may read of it: of each level, finest first, the
    ``channels`` and, per axis, the total ``strides`` against the input.
    """

    spatial_dims: int
    channels: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]


@runtime_checkable
class Encoder(Protocol):
    """An ``nn.Module``: ``(B, M, *S)`` -> features per level, finest first, as ``pyramid`` says."""

    pyramid: Pyramid

    def __call__(self, image: Tensor) -> list[Tensor]:
        """The features, one tensor per level of the pyramid."""


@runtime_checkable
class Decoder(Protocol):
    """An ``nn.Module``: features per level -> logits, finest first.

    Coarser logits come only while training and only where deep supervision is on.
    """

    def __call__(self, features: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Logits ``(B, K, *S)``, then those of the coarser levels."""


class Architecture(Protocol):
    """A choice under ``conf/network/``: knows how to make the halves of a network.

    The constructor takes ``topology`` first, then the options that its YAML file names.
    ``MODULAR`` is ``False`` for a network that cannot be split; it has `whole` and no halves, and
    takes part in early and late fusion only. ``DIMS`` are the spatial dimensions it exists in.
    ``DIVISOR``, where it is given, is what each axis of a patch must be a multiple of; the plan sees to it.
    ``INSTANCES``, where it is ``True``, says that the network is an `InstanceNetwork`: trained by losses of
    its own, so only objectives that say ``NEEDS_INSTANCES`` can have it, and never traced.
    All are read from the source, so they must be literals.
    """

    MODULAR: ClassVar[bool]
    DIMS: ClassVar[tuple[int, ...]]

    def encoder(self, in_channels: int) -> torch.nn.Module:
        """An `Encoder` of ``in_channels`` modalities."""

    def decoder(self, pyramid: Pyramid, out_channels: int, deep_supervision: bool) -> torch.nn.Module:
        """A `Decoder` of anything that has this pyramid."""

    def whole(self, in_channels: int, out_channels: int, deep_supervision: bool) -> torch.nn.Module:
        """``(B, in_channels, *S)`` -> tuple of logits, for networks that are used in one piece."""


@dataclass(frozen=True)
class Instances:
    """The objects in one image, ``N`` of them.

    Attributes:
        masks: ``(N, *S)`` bool, the voxels of each, at least one.
        labels: ``(N,)`` int64, the code of each, from 1.
        ignored: ``(*S)`` bool, voxels of which nothing is to be learned.
    """

    masks: Tensor
    labels: Tensor
    ignored: Tensor


@runtime_checkable
class InstanceNetwork(Protocol):
    """An ``nn.Module`` that finds objects one by one, and makes its logits of them."""

    def instance_losses(self, image: Tensor, instances: Sequence[Instances]) -> dict[str, Tensor]:
        """``(B, M, *S)`` and the objects of each image -> scalars to minimise, by name.

        Every parameter that trains takes part, also where no image shows an object.
        """


@runtime_checkable
class Network(Protocol):
    """An ``nn.Module`` that a fusion has put together: modalities in, logits out."""

    def __call__(self, image: Tensor, present: Tensor | None = None) -> tuple[Tensor, ...]:
        """``(B, M, *S)`` and ``(B, M)`` bool -> logits ``(B, K, *S)`` first, then coarser ones."""


class Fusion(Network, Protocol):
    """A choice under ``conf/fusion/``: the network of all modalities, put together from an architecture.

    The constructor takes ``architecture, modalities, out_channels, deep_supervision, overlapping,
    slices``, then its own options. ``NEEDS_MODULAR`` says whether the architecture must come in halves.
    ``ONE_NETWORK``, where it is ``True``, says that one network sees the image as it is, so that it can be
    trained on instances. Both are read from the source without importing it, so they must be literals.
    """

    NEEDS_MODULAR: ClassVar[bool]


@runtime_checkable
class Loss(Protocol):
    """An ``nn.Module``; the constructor takes ``labels: Labels`` first, then its own options."""

    labels: Labels

    def __call__(self, logits: Tensor, label: Tensor) -> Tensor:
        """``(B, K, *S)`` logits and ``(B, 1, *S)`` codes -> a scalar."""


@runtime_checkable
class Paced(Protocol):
    """A part of an objective, such as a loss, that changes while training goes on."""

    def progress(self, share: float) -> None:
        """Before each step, ``share`` in [0, 1] of them taken; what it sets follows from that alone."""


@runtime_checkable
class Deploys(Protocol):
    """An objective that validates and publishes another network than it trains, such as a teacher."""

    def deployed(self, network: torch.nn.Module) -> torch.nn.Module:
        """The network to use; it has the same state as ``network``, by name and shape."""


@dataclass(frozen=True)
class Progress:
    """Where training stands: ``step`` real optimizer steps taken of ``total_steps``."""

    step: int
    total_steps: int
    epoch: int


class Objective(Protocol):
    """An ``nn.Module``: what training optimises. A choice under ``conf/objective/``.

    The constructor takes ``loss: Loss`` first, then its own options. ``STREAMS`` names the streams it
    reads, from ``"labelled"`` and ``"unlabelled"``; ``DEEP_SUPERVISION`` whether it can use coarser logits;
    ``NEEDS_INSTANCES``, where it is ``True``, that it trains an `InstanceNetwork` and nothing else;
    ``EXCLUSIVE``, that it cannot learn overlapping regions. All are read from the source, so they must be
    literals. ``deep_supervision`` says whether it does: only then does the network get heads for them.
    """

    STREAMS: ClassVar[tuple[str, ...]]
    DEEP_SUPERVISION: ClassVar[bool]
    deep_supervision: bool

    def attach(self, network: torch.nn.Module) -> None:
        """Makes what training needs beside the network (a teacher, a projection head); once, before it."""

    def step(
        self, network: torch.nn.Module, streams: Mapping[str, Batch], progress: Progress
    ) -> dict[str, Tensor]:
        """The scalar to minimise under ``"loss"``, and its terms, detached, for the log."""

    def after_step(self, network: torch.nn.Module, progress: Progress) -> None:
        """Called after each real optimizer step, never after a skipped one."""
