"""Which of how many processes this one is; asked before anything is imported. Standard library only."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from medseg.errors import UserError

_TOLD = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
"""What torchrun, and `medseg.training.launch`, tell each process."""


@dataclass(frozen=True)
class Ranks:
    """The place of this process among those that train together; alone unless told otherwise.

    Attributes:
        rank: of this process, from 0; rank zero writes.
        world: how many there are.
        local_rank: of this process on its machine, from 0; also the number of its GPU.
        local_world: how many there are on each machine.
        address: of rank zero's machine.
        port: where they meet.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    address: str = "127.0.0.1"
    port: int = 0

    @property
    def leads(self) -> bool:
        """Whether this is rank zero."""
        return self.rank == 0

    @property
    def node(self) -> int:
        """The number of this machine."""
        return self.rank // self.local_world


def ranks_here(devices: int, nodes: int, environment: Mapping[str, str] | None = None) -> Ranks | None:
    """The place that torchrun, srun or medseg has given this process; ``None`` where it must start others.

    Args:
        devices: processes per machine that the configuration asks for.
        nodes: machines, likewise.
        environment: variables; those of this process where none are given.

    Raises:
        UserError: other numbers were started than the configuration asks for, or several machines are asked
            for and nothing has started a process on each.
    """
    found = told(os.environ if environment is None else environment)
    if found is None and nodes > 1:
        problem = f"{nodes} machines are asked for and this is one process on one of them"
        raise UserError("training.num_nodes", problem, "start a process per device by srun or torchrun")
    if found is None:
        return Ranks() if devices == 1 else None
    if (found.local_world, found.world) != (devices, devices * nodes):
        started = f"{found.world} processes were started, {found.local_world} per machine"
        asked = f"training asks for {devices} on each of {nodes}"
        fix = (
            f"set training.devices={found.local_world} training.num_nodes={found.world // found.local_world}"
        )
        raise UserError("training.devices", f"{started}, and {asked}", fix)
    return found


def told(environment: Mapping[str, str]) -> Ranks | None:
    """The place that the environment tells, ``None`` where it tells none or of one process alone."""
    if all(name in environment for name in _TOLD):
        rank, world, local, _, port = (environment[name] for name in _TOLD)
        many = environment.get("LOCAL_WORLD_SIZE", world)
        address = environment["MASTER_ADDR"]
        found = Ranks(int(rank), int(world), int(local), int(many), address, int(port))
        return found if found.world > 1 else None
    return _of_slurm(environment)


def _of_slurm(environment: Mapping[str, str]) -> Ranks | None:
    """Of a step that srun started; a batch script itself is no step and is alone."""
    world = int(environment.get("SLURM_STEP_NUM_TASKS", 1))
    if world == 1 or "SLURM_PROCID" not in environment or "SLURM_LOCALID" not in environment:
        return None
    job, step = int(environment.get("SLURM_JOB_ID", 0)), int(environment.get("SLURM_STEP_ID", 0))
    port = environment.get("MASTER_PORT", 15000 + (17 * job + step) % 15000)
    address = environment.get("MASTER_ADDR") or first_host(environment.get("SLURM_STEP_NODELIST", ""))
    nodes = int(environment.get("SLURM_STEP_NUM_NODES", 1))
    rank, local = int(environment["SLURM_PROCID"]), int(environment["SLURM_LOCALID"])
    return Ranks(rank, world, local, world // nodes, address, int(port))


def first_host(nodes: str) -> str:
    """The first of a SLURM list of machines: ``gpu[07-09,12],login`` -> ``gpu07``."""
    match = re.match(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^,]*))?", nodes)
    if match is None:
        return "127.0.0.1"
    return match[1] + (match[2] or "") + (match[3] or "")
