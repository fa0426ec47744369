"""``medseg networks``: every network, fusion and merge that can be chosen, with what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from medseg.config.folders import conf_folder, options
from medseg.contracts import Topology
from medseg.data.plan_topology import legal_pyramid, widths
from medseg.errors import UserError
from medseg.targets import build, constants, parameters

PATCHES = {2: (512, 512), 3: (128, 128, 128)}
MAX_WIDTHS = {2: 512, 3: 320}
Spec = dict[str, Any]
AT_MOST = "at most"
FOOTNOTE = f"{AT_MOST}: with as many objects as it may list; the memory of a training grows with the objects"


def networks(
    patch_size: list[int] | None, modalities: int, classes: int, width: int, network: Spec, fusion: Spec
) -> None:
    """Prints tables: of the networks for each number of dimensions, of the fusions, of their merges."""
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
    rows = {name: _cells(network, spec, patch, several, classes, width) for name, spec in _merges()}
    _print(console, title.replace("=...", "=... fusion.merge=..."), patch, several, rows, "fusion and merge")


def _specs(slot: str) -> Iterator[tuple[str, Spec]]:
    import yaml

    for name in options(slot):
        yield name, yaml.safe_load((conf_folder() / slot / f"{name}.yaml").read_text(encoding="utf-8"))


def _merges() -> Iterator[tuple[str, Spec]]:
    """Every fusion with every merge that it can be given."""
    for name, spec in _specs("fusion"):
        for parameter in parameters(spec["_target_"]):
            if parameter.name == "merge":
                yield from ((f"{name} {merge}", spec | {"merge": merge}) for merge in parameter.choices)


def _dims(spec: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(constants(spec["_target_"]).get("DIMS", (2, 3)))


def _cells(
    network: Spec, fusion: Spec, patch: tuple[int, ...], modalities: int, classes: int, width: int
) -> list[str]:
    """Where the modalities may meet, parameters, GFLOP and memory; or why there are none."""
    from medseg.networks.cost import count_parameters, measure_cost, most_gflop

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
        gflop = most_gflop(make, (1, modalities, *shape.patch_size))
        note = AT_MOST + _patch_note(shape.patch_size, patch, ", ")
        return [f"{count_parameters(make) / 1e6:.2f}", f"{gflop:.1f}", "-", note]
    try:
        cost = measure_cost(make, (1, modalities, *shape.patch_size))
    except UserError as error:
        return ["-", "-", "-", str(error)]
    note = _patch_note(shape.patch_size, patch)
    return [f"{cost.parameters / 1e6:.2f}", f"{cost.gflop:.1f}", f"{cost.activation_gb:.2f}", note]


def _patch_note(counted: tuple[int, ...], asked: tuple[int, ...], before: str = "") -> str:
    """Which patch was counted, where the network cannot have the one asked for."""
    return "" if counted == asked else f"{before}patch {'x'.join(map(str, counted))}"


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
    if any(cells[-1].startswith(AT_MOST) for cells in rows.values()):
        console.print(FOOTNOTE)
