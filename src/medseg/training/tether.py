"""A line between the processes of one training, which tells all of them when one has ended.

Each process holds a connection to the hub. The kernel closes it when the process dies, however it dies, so
nobody waits for a timeout of a collective operation, and no process that is only busy is taken for dead.
Standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import selectors
import socket
import threading
import time
from dataclasses import asdict, dataclass
from typing import Any

GRACE = 10.0
"""Seconds in which a process may end by itself after another one has."""
_POLL = 0.2


@dataclass(frozen=True)
class Fault:
    """Why one of the processes ended.

    Attributes:
        rank: which.
        text: what happened, in one line (or several problems, one each).
        doing: what it was doing, as far as it had told: the step and the cases.
        said: whether the text is a message for the user as it is.
    """

    rank: int
    text: str
    doing: str = ""
    said: bool = False

    def line(self) -> str:
        """For the user."""
        if self.said:
            return self.text if self.rank == 0 else f"rank {self.rank}: {self.text}"
        where = f" at {self.doing}" if self.doing else ""
        return f"rank {self.rank} {self.text}{where}; the same command goes on from the last checkpoint"


class _Line:
    """What the hub knows of one connection."""

    def __init__(self) -> None:
        self.rank, self.left, self.doing, self.rest = -1, False, "", b""

    def messages(self, received: bytes) -> list[dict[str, Any]]:
        *whole, self.rest = (self.rest + received).split(b"\n")
        found = []
        for each in whole:
            with contextlib.suppress(ValueError):
                found.append(json.loads(each))
        return [each for each in found if isinstance(each, dict)]


class Hub:
    """Knows of all processes; the first that ends without a good-bye is the fault that all others are told.

    Args:
        host: the address to listen on; empty for all of this machine's.

    Attributes:
        fault: the first, ``None`` while all is well.
    """

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.fault: Fault | None = None
        self.host, self._token = host or "0.0.0.0", secrets.token_hex(16)
        self._server = socket.create_server((self.host, 0))
        self._server.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._server, selectors.EVENT_READ, None)
        self._closing = False
        self._thread = threading.Thread(target=self._serve, daemon=True, name="hub")
        self._thread.start()

    def address(self, host: str | None = None) -> str:
        """Where a `Tether` finds it: ``HOST PORT TOKEN``."""
        return f"{host or self.host} {self._server.getsockname()[1]} {self._token}"

    def close(self) -> None:
        """Ends the service; whoever is still connected takes it for the end of all."""
        self._closing = True
        self._thread.join(timeout=5)

    def _serve(self) -> None:
        while not self._closing:
            for key, _ in self._selector.select(_POLL):
                if key.data is None:
                    self._accept()
                else:
                    self._hear(key.fileobj, key.data)
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._server.accept()
            _keep_alive(connection)
            self._selector.register(connection, selectors.EVENT_READ, _Line())

    def _hear(self, connection: Any, line: _Line) -> None:
        try:
            received = connection.recv(1 << 16)
        except OSError:
            received = b""
        for message in line.messages(received):
            if line.rank < 0 and message.get("token") != self._token:
                received = b""
                break
            line.rank = int(message.get("rank", line.rank))
            line.doing = str(message.get("doing", line.doing))
            line.left = bool(message.get("left", line.left))
            if "text" in message:
                line.left = True
                self._spread(Fault(line.rank, message["text"], line.doing, bool(message.get("said"))))
        if not received:
            self._selector.unregister(connection)
            connection.close()
            if line.rank >= 0 and not line.left:
                self._spread(Fault(line.rank, "has died without a word, as when it is killed", line.doing))

    def _spread(self, fault: Fault) -> None:
        if self.fault is not None:
            return
        self.fault = fault
        told = json.dumps(asdict(fault)).encode() + b"\n"
        for key in list(self._selector.get_map().values()):
            if key.data is not None and key.data.rank >= 0:
                with contextlib.suppress(OSError):
                    key.fileobj.sendall(told)  # type: ignore[union-attr]


class Tether:
    """A process's end of the line. When another process has ended, this one ends too, after `GRACE`.

    Args:
        address: of the hub.
        rank: of this process.
        silent: whether somebody else tells the user.
    """

    def __init__(self, address: str, rank: int, silent: bool) -> None:
        host, port, token = address.split()
        self.rank, self.silent = rank, silent
        self.fault: Fault | None = None
        self._told, self._left = threading.Event(), False
        self._socket = socket.create_connection((host, int(port)), timeout=60)
        self._socket.settimeout(None)
        _keep_alive(self._socket)
        self._send(token=token, rank=rank)
        threading.Thread(target=self._listen, daemon=True, name="tether").start()

    def doing(self, what: str) -> None:
        """Tells what this process begins to do; it is said of it if it dies."""
        self._send(doing=what[:2000])

    def fail(self, text: str, said: bool) -> None:
        """Tells all others that this process ends, and why; makes sure that it does."""
        self._send(text=text[:20000], said=said)
        self._left = True
        _end_after(GRACE)

    def leave(self) -> None:
        """Says good-bye: all is well."""
        self._left = True
        self._send(left=True)
        self._socket.close()

    def verdict(self, seconds: float) -> Fault | None:
        """The fault of another process, waiting a while for the news of it."""
        self._told.wait(seconds)
        return self.fault if self.fault is not None and self.fault.rank != self.rank else None

    def _send(self, **message: Any) -> None:
        with contextlib.suppress(OSError):  # the hub's end is noticed by `_listen`
            self._socket.sendall(json.dumps(message).encode() + b"\n")

    def _listen(self) -> None:
        received = b""
        with contextlib.suppress(OSError):
            while b"\n" not in received and (more := self._socket.recv(1 << 16)):
                received += more
        if self._left:
            return
        self.fault = Fault(0, "has ended, or the process that started it")
        with contextlib.suppress(ValueError, TypeError):
            self.fault = Fault(**json.loads(received))
        self._told.set()
        time.sleep(GRACE)
        if not self._left:
            if not self.silent:
                os.write(2, (self.fault.line() + "\n").encode())
            os._exit(2)


def _end_after(seconds: float) -> None:
    """Nothing that hangs, such as a collective operation that lacks a partner, keeps the process."""
    timer = threading.Timer(seconds, os._exit, (2,))
    timer.daemon = True
    timer.start()


def _keep_alive(connection: socket.socket) -> None:
    """A machine that loses its power is noticed within half a minute."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
