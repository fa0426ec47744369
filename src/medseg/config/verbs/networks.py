"""``medseg networks``: every network and fusion that can be chosen, with what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from medseg.config.folders import conf_folder, options
from medseg.contracts import Topology
from medseg.data.plan_topology import legal_pyramid, widths
from medseg.errors import UserError
from medseg.targets import build, constants

PATCHES = {2: (512, 512), 3: (128, 128, 128)}
MAX_WIDTHS = {2: 512, 3: 320}
Spec = dict[str, Any]


def networks(
    patch_size: list[int] | None, modalities: int, classes: int, width: int, network: Spec, fusion: Spec
) -> None:
    """Prints a table of the networks for each number of dimensions, and one of the fusions."""
    console = Console(highlight=False)
    for dims in (2, 3) if patch_size is None else (len(patch_size),):
        patch = tuple(patch_size) if patch_size else PATCHES[dims]
        chosen = {name: spec for name, spec in _specs("network") if dims in _dims(spec)}
        rows = {
            name: _cells(spec, fusion, patch, modalities, classes, width) for name, spec in chosen.items()
        }
        _print(console, f"network=... in {dims}D", patch, modalities, rows, "network")
    patch = tuple(patch_size) if patch_size else PATCHES[max(_dims(network))]
    several = max(2, modalities)
    rows = {name: _cells(network, spec, patch, several, classes, width) for name, spec in _specs("fusion")}
    title = f"fusion=... of {network['_target_'].rpartition('.')[2]}"
    _print(console, title, patch, several, rows, "fusion")


def _specs(slot: str) -> Iterator[tuple[str, Spec]]:
    import yaml

    for name in options(slot):
        yield name, yaml.safe_load((conf_folder() / slot / f"{name}.yaml").read_text(encoding="utf-8"))


def _dims(spec: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(constants(spec["_target_"]).get("DIMS", (2, 3)))


def _cells(
    network: Spec, fusion: Spec, patch: tuple[int, ...], modalities: int, classes: int, width: int
) -> list[str]:
    """Where the modalities may meet, parameters, GFLOP and memory; or why there are none."""
    from medseg.networks.cost import count_parameters, measure_cost

    facts, dims = constants(network["_target_"]), len(patch)
    modular = facts.get("MODULAR", True)
    if dims not in _dims(network):
        return ["-", "-", "-", f"does not exist in {dims}D"]
    if constants(fusion["_target_"]).get("NEEDS_MODULAR", False) and not modular:
        return ["-", "-", "-", "cannot be split"]
    shape = legal_pyramid(patch, (1.0,) * dims, None, facts.get("DIVISOR", 1))
    channels = widths(len(shape.strides), width, MAX_WIDTHS[dims])
    topology = Topology(dims, shape.patch_size, shape.strides, shape.kernels, channels)

    def make() -> Any:
        architecture = build(network, "network", topology)
        return build(
            fusion,
            "fusion",
            architecture,
            modalities=modalities,
            out_channels=classes,
            deep_supervision=False,
        )

    if facts.get("INSTANCES", False):
        if not constants(fusion["_target_"]).get("ONE_NETWORK", False):
            return ["-", "-", "-", "must find its objects alone"]
        return [f"{count_parameters(make) / 1e6:.2f}", "-", "-", "computes as much as it finds objects"]
    try:
        cost = measure_cost(make, (1, modalities, *shape.patch_size))
    except UserError as error:
        return ["-", "-", "-", str(error)]
    note = "" if shape.patch_size == patch else f"patch {'x'.join(map(str, shape.patch_size))}"
    return [f"{cost.parameters / 1e6:.2f}", f"{cost.gflop:.1f}", f"{cost.activation_gb:.2f}", note]


def _print(
    console: Console,
    title: str,
    patch: tuple[int, ...],
    modalities: int,
    rows: dict[str, list[str]],
    slot: str,
) -> None:
    size = "x".join(map(str, patch))
    table = Table(title=f"{title}, patch {size}, {modalities} modalities", title_justify="left")
    table.add_column(slot)
    for name in ("million parameters", "GFLOP", "activations GB"):
        table.add_column(name, justify="right")
    table.add_column("note")
    for name, cells in rows.items():
        table.add_row(name, *cells)
    console.print(table)
