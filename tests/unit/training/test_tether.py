"""Processes learn from each other that one has ended, and why."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from medseg.training.tether import Fault, Hub, Tether

DIES = "import sys, os, time; from medseg.training.tether import Tether; t = Tether(sys.argv[1], 1, False); "


@pytest.fixture
def hub() -> Iterator[Hub]:
    found = Hub()
    yield found
    found.close()


def until(true: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.01)


def process(hub: Hub, code: str) -> int:
    return subprocess.run([sys.executable, "-c", DIES + code, hub.address()], check=False).returncode


def test_a_good_bye_is_no_fault(hub: Hub) -> None:
    other = Tether(hub.address(), 0, True)
    assert process(hub, "t.doing('step 1'); t.leave()") == 0
    assert other.verdict(0.5) is None
    assert hub.fault is None
    other.leave()


def test_a_process_that_dies_is_known_with_what_it_did(hub: Hub) -> None:
    other = Tether(hub.address(), 0, True)
    process(hub, "t.doing('step 7 on cases a, b'); os.kill(os.getpid(), 9)")
    fault = other.verdict(20)
    assert fault is not None
    assert (fault.rank, fault.doing) == (1, "step 7 on cases a, b")
    assert "rank 1 has died" in fault.line()
    assert "step 7 on cases a, b" in fault.line()
    other.leave()


def test_the_first_fault_is_the_one(hub: Hub) -> None:
    process(hub, "t.fail('it: is wrong', said=True); os._exit(2)")
    until(lambda: hub.fault)
    process(hub, "os._exit(3)")
    assert hub.fault == Fault(1, "it: is wrong", "", True)
    assert hub.fault.line() == "rank 1: it: is wrong"


def test_strangers_are_not_heard(hub: Hub) -> None:
    host, port, _ = hub.address().split()
    stranger = Tether(f"{host} {port} {'0' * 32}", 5, True)
    stranger._left = True
    time.sleep(0.5)
    assert hub.fault is None


def test_a_process_ends_when_the_hub_has_gone() -> None:
    hub = Hub()
    code = DIES.replace("import sys", "import medseg.training.tether as m; m.GRACE = 0.1; import sys")
    waiting = subprocess.Popen([sys.executable, "-c", code + "time.sleep(600)", hub.address()])
    until(lambda: any(k.data is not None and k.data.rank == 1 for k in hub._selector.get_map().values()))
    hub.close()
    assert waiting.wait(timeout=30) == 2
