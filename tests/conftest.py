"""What every test may use."""

from __future__ import annotations

import locale
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public data sets beside the checkout; skips where it is absent."""
    folder = Path(os.environ.get("MEDSEG_SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no public data sets at {folder} (set MEDSEG_SHARED_DATA)")
    return folder


@pytest.fixture(autouse=True)
def own_locale() -> Iterator[None]:
    """ITK's DICOM writer, which tests use and medseg does not, leaves the C locale (ASCII files) behind."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)
