"""What a loader is asked for and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    from torch import Tensor

    from patch_loaders.cases import Case


@dataclass(frozen=True)
class Order:
    """One measurement.

    Attributes:
        loader: its name, see `cases.LOADERS`.
        case: what to do.
        folder: of the cohort.
        seed: another one in each round.
    """

    loader: str
    case: Case
    folder: Path
    seed: int

    @property
    def samples_per_volume(self) -> int:
        """The number in TorchIO's names."""
        return int(self.loader.rpartition("-")[2])


def nothing() -> None:
    """Where there is nothing to settle or close."""


@dataclass(frozen=True)
class Opened:
    """A loader at work.

    Attributes:
        batches: image ``(B, M, *patch)`` and label ``(B, 1, *patch)``, without end.
        cycle: patches between two equal states of the loader; a measurement begins and ends with one.
        settle: does what is done once per process (compiling, choosing an algorithm), after the first batch.
        close: ends workers.
    """

    batches: Iterator[tuple[Tensor, Tensor]]
    cycle: int
    settle: Callable[[], None] = nothing
    close: Callable[[], None] = nothing


class Loader(Protocol):
    """A module of this package that brings one loader."""

    PACKAGES: tuple[str, ...]

    def prepare(self, order: Order) -> None:
        """Converts the cohort into the loader's own format, once."""

    def load(self, order: Order) -> Callable[[], Opened]:
        """Imports the packages; what it returns builds the loader, and from there the clock runs."""


_MODULES = {"ours": "ours", "nnunet": "nnunet", "monai": "monai_datasets", "torchio": "torchio_queue"}


def loader_of(name: str) -> Loader:
    """The module that brings a loader, by the loader's name."""
    module = import_module(f"patch_loaders.{_MODULES[name.partition('-')[0]]}")
    return cast(Loader, module)
