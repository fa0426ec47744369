"""A training in this process that is signalled at the steps one asks for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from medseg.cli import main

STOPPED = 75

SIGNALLING_LOSS = """
import os, signal

from medseg.losses.dice_ce import DiceCE

calls = 0


class Signalling(DiceCE):
    def compare(self, target):
        global calls
        calls += 1
        for order in os.environ.get("SIGNALS_AT", "").split():
            call, name = order.split(":")
            if calls == int(call):
                os.kill(os.getpid(), getattr(signal, name))
        return super().compare(target)
"""
"""A part of the user's own; it signals its own process at the calls that SIGNALS_AT names."""


def train(command: list[str], monkeypatch: pytest.MonkeyPatch, name: str, signals: str = "") -> int:
    import signalling  # type: ignore[import-not-found]

    signalling.calls = 0
    monkeypatch.setenv("SIGNALS_AT", signals)
    return main([*command, f"id={name}"])


def record_of(run: Path) -> dict[str, object]:
    return dict(json.loads((run / "record.json").read_text()))
