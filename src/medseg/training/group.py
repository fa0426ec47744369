"""The processes of one training: how they meet, what rank zero tells the others, who does which cases."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from lightning.pytorch.utilities import rank_zero_only
from torch._C._distributed_c10d import PrefixStore

from medseg.errors import Problems, UserError
from medseg.training.launch import TETHER
from medseg.training.ranks import Ranks
from medseg.training.tether import Hub, Tether

MEETING = timedelta(minutes=15)
"""How long the processes wait for each other to be started."""
STEP = timedelta(hours=2)
"""How long a collective operation may take, such as waiting for the rank with the largest volumes. That a
process has died is known from its tether, long before."""
PREPARATION = timedelta(days=7)
"""How long the others wait while rank zero preprocesses a cohort."""
_NEWS = 5.0
"""Seconds in which the death of another process becomes known after an operation with it has failed."""

_Item = TypeVar("_Item")


class Group:
    """All ranks of one training. Alone, everything here does nothing.

    Args:
        ranks: the place of this process.
    """

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.tether: Tether | None = None
        self._hub: Hub | None = None
        self._store: Any = None
        started_here = os.environ.get(TETHER)
        if ranks.world > 1 and started_here is not None:
            self.tether = Tether(started_here, ranks.rank, silent=True)

    def meet(self, device: str) -> None:
        """Waits for all ranks. On GPUs gradients go by NCCL, everything else by gloo.

        Args:
            device: ``cpu`` or ``cuda``.

        Raises:
            UserError: they do not come.
        """
        ranks = self.ranks
        # Lightning has read it once, when it was imported, which may have been before the ranks were made.
        rank_zero_only.rank = ranks.rank  # type: ignore[attr-defined]
        if ranks.world == 1:
            return
        if device == "cuda":
            torch.cuda.set_device(ranks.local_rank)
        self._store = self._rendezvous()
        if self.tether is None:
            self._tie()
        backend = "cpu:gloo,cuda:nccl" if device == "cuda" else "gloo"
        store = PrefixStore("group", self._store)
        dist.init_process_group(backend, store=store, rank=ranks.rank, world_size=ranks.world, timeout=STEP)

    @property
    def leads(self) -> bool:
        """Whether this is rank zero, which alone writes."""
        return self.ranks.leads

    @property
    def world(self) -> int:
        """How many ranks there are."""
        return self.ranks.world

    def from_zero(self, name: str, make: Callable[[], _Item]) -> _Item:
        """What rank zero makes, a JSON value, on every rank; the others wait for it, for days if need be."""
        if self._store is None:
            return make()
        if self.leads:
            value = make()
            self._store.set(name, json.dumps(value))
            return value
        self._store.wait([name], PREPARATION)
        told: _Item = json.loads(self._store.get(name))
        return told

    def share(self, items: Sequence[_Item]) -> Sequence[_Item]:
        """Those that this rank works on; each belongs to exactly one rank."""
        return items[self.ranks.rank :: self.world]

    def gathered(self, items: Sequence[_Item]) -> list[_Item]:
        """The items of all ranks, on every rank, those of rank zero first."""
        if self._store is None:
            return list(items)
        shares: list[Sequence[_Item]] = [()] * self.world
        dist.all_gather_object(shares, items)
        return [item for share in shares for item in share]

    def doing(self, what: str) -> None:
        """Tells what this rank begins to do, to be said of it if it dies."""
        if self.tether is not None:
            self.tether.doing(what)

    def leave(self) -> None:
        """Ends the group, all ranks together."""
        if self._store is None:
            return
        dist.barrier()
        if self.tether is not None:
            self.tether.leave()
        # Rank zero has the store, and perhaps the hub, that the others still use.
        if self.leads:
            self._store.wait([f"left/{rank}" for rank in range(1, self.world)], MEETING)
        else:
            self._store.set(f"left/{self.ranks.rank}", "")
        dist.destroy_process_group()
        if self._hub is not None:
            self._hub.close()

    def _rendezvous(self) -> Any:
        """The store of all ranks; where torchrun keeps one, that one."""
        from torch.distributed.rendezvous import rendezvous

        ranks = self.ranks
        os.environ.update(MASTER_ADDR=ranks.address, MASTER_PORT=str(ranks.port))
        try:
            place = f"env://?rank={ranks.rank}&world_size={ranks.world}"
            store, _, _ = next(iter(rendezvous(place, timeout=MEETING)))
        except (RuntimeError, OSError) as error:
            where, what = f"{ranks.address}:{ranks.port}", str(error).splitlines()[0][:200]
            fix = "set MASTER_ADDR and MASTER_PORT to where rank zero can be reached"
            raise UserError(where, f"rank {ranks.rank} did not meet the others ({what})", fix) from None
        store.set_timeout(PREPARATION)
        return store

    def _tie(self) -> None:
        """Connects to the hub in rank zero, as nothing of medseg's has started these processes."""
        if self.leads:
            self._hub = Hub("")
        hub = self._hub
        address = self.from_zero("hub", lambda: hub.address(_own_address(self.ranks)) if hub else "")
        self.tether = Tether(address, self.ranks.rank, silent=False)


@contextmanager
def joined(ranks: Ranks, device: str) -> Iterator[Group]:
    """The group, for as long as the training lasts; when it fails on one rank it ends on all.

    Raises:
        Problems: another rank has failed or died.
    """
    group = Group(ranks)
    try:
        group.meet(device)
        yield group
    except UserError as error:
        if group.tether is not None:
            group.tether.fail(str(error), said=True)
        raise
    except Exception as error:
        if group.tether is None:
            raise
        fault = group.tether.verdict(_NEWS)
        if fault is not None:
            group.tether.fail("followed another", said=False)
            raise Problems(fault.line().splitlines()) from None
        what = str(error).splitlines()[0][:500] if str(error) else ""
        group.tether.fail(f"failed: {type(error).__name__}: {what}", said=False)
        raise
    except BaseException:
        if group.tether is not None:
            group.tether.fail("was interrupted", said=False)
        raise
    group.leave()


def _own_address(ranks: Ranks) -> str:
    """The address of this machine as the others reach it: that of the way to rank zero's own name."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((ranks.address, ranks.port or 1))
            return str(probe.getsockname()[0])
        except OSError:
            return ranks.address
