"""A network from its specs: the one place where an architecture meets a fusion."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from medseg.contracts import Labels
from medseg.errors import UserError
from medseg.targets import build

if TYPE_CHECKING:
    from torch import nn

    from medseg.data.plan import Plan


def assemble_network(
    network_spec: Mapping[str, Any],
    fusion_spec: Mapping[str, Any],
    plan: Plan,
    labels: Labels,
    deep_supervision: bool = False,
) -> nn.Module:
    """Builds the network that the specs describe, freshly initialised, on the current default device.

    The initial weights come from torch's random state, which the caller has seeded.

    Args:
        network_spec: ``_target_`` and options of an architecture.
        fusion_spec: ``_target_`` and options of a fusion.
        plan: gives the topology and the number of modalities.
        labels: give the number of output channels.
        deep_supervision: whether the network also answers at coarser levels while training.

    Returns:
        A `medseg.contracts.Network`: ``(B, M * plan.slices, *S)`` and ``(B, M)`` bool -> logits
        ``(B, K, *S)`` first.

    Raises:
        Problems: a spec is not admitted or does not fit, one line per problem.
    """
    architecture = build(network_spec, "network", plan.topology)
    network = build(
        fusion_spec,
        "fusion",
        architecture,
        modalities=len(plan.modalities),
        out_channels=labels.out_channels,
        deep_supervision=deep_supervision,
        overlapping=labels.overlapping,
        slices=plan.slices,
    )
    return cast("nn.Module", network)


def encoding_of(network: nn.Module) -> nn.Module:
    """The way down of a network, which shares its weights: what is pretrained, and fine-tuned afterwards.

    Raises:
        UserError: the fusion has none that ends in one pyramid, or the network does not come in halves.
    """
    make = getattr(network, "encoding", None)
    if make is None:
        problem = f"{type(network).__name__} has no encoder of all modalities to pretrain"
        raise UserError("fusion", problem, "use fusion=early or mid")
    return cast("nn.Module", make())


def assemble_encoding(
    network_spec: Mapping[str, Any], fusion_spec: Mapping[str, Any], plan: Plan, labels: Labels
) -> nn.Module:
    """The way down alone of what `assemble_network` builds, with the same initial weights.

    Returns:
        ``(B, M * plan.slices, *S)`` and ``(B, M)`` bool -> features per level, finest first; its
        ``patch_size`` is the plan's.
    """
    encoding = encoding_of(assemble_network(network_spec, fusion_spec, plan, labels))
    encoding.patch_size = plan.patch_size  # type: ignore[assignment]
    return encoding
