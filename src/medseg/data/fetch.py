"""One file over HTTP, HTTPS or from disk: resumed where it broke off, never longer than announced."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

from medseg.errors import UserError
from medseg.files import atomic_path, write_json

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and, where it is known, the bytes in all."""

_CHUNK = 1 << 20
_TIMEOUT = 30.0
_PASSING = (408, 425, 429, 500, 502, 503, 504)


@dataclass(frozen=True)
class Patience:
    """How often and how long to try again.

    Attributes:
        attempts: tries in a row that bring no byte.
        pause: seconds before the second try; doubled each time.
    """

    attempts: int = 5
    pause: float = 1.0


class _Interrupted(Exception):
    """The connection broke; what has arrived is kept."""


class _Redirects(HTTPRedirectHandler):
    """Follows redirects, but never from an encrypted address to a plain one."""

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        """The next request; `None` makes urllib raise the redirect as an error."""
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            return None
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(
    url: str, target: Path, *, size: int | None = None, progress: Progress, patience: Patience | None = None
) -> None:
    """Brings ``url`` to ``target``.

    What arrives is kept in ``target.part``; a second call goes on from there when the server says by its
    ``ETag`` or date that the file is still the same, and starts again otherwise.

    Args:
        url: http, https or file.
        target: the file; it appears when it is whole.
        size: bytes it must have, where they are known.
        progress: told about each chunk.
        patience: with a failing connection.

    Raises:
        UserError: the server refuses, the connection keeps failing, the disk is too small, or the size is
            wrong.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if urlsplit(url).scheme == "file":
        _copy(url, target)
        return
    part = target.with_name(target.name + ".part")
    patience = patience or Patience()
    failures = 0
    while True:
        before = _bytes(part)
        try:
            _receive(url, part, size, progress)
            break
        except _Interrupted as error:
            failures = 1 if _bytes(part) > before else failures + 1
            if failures >= patience.attempts:
                raise UserError(
                    url, f"cannot be fetched ({error})", "check the network, then try again"
                ) from None
            time.sleep(patience.pause * 2 ** (failures - 1))
    part.replace(target)
    _note(part).unlink(missing_ok=True)


def _copy(url: str, target: Path) -> None:
    source = Path(unquote(urlsplit(url).path))
    try:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)
    except OSError as error:
        raise UserError(url, f"cannot be copied ({error.strerror})", "correct data.source.url") from None


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _note(part: Path) -> Path:
    """What the server said about the file of which ``part`` is the beginning."""
    return part.with_name(part.name + ".json")


def _receive(url: str, part: Path, size: int | None, progress: Progress) -> None:
    """One request; appends to ``part``. Returns when the file is whole."""
    start, validator, total = _resumable(url, part)
    if start and start == total:
        return
    headers = {"User-Agent": "medseg", "Accept-Encoding": "identity"}
    if validator is not None:
        headers |= {"Range": f"bytes={start}-", "If-Range": validator}
    try:
        with _opener().open(Request(url, headers=headers), timeout=_TIMEOUT) as answer:
            if answer.status != http.client.PARTIAL_CONTENT:
                # Old bytes go before the new note is written: a kill here may not join the two.
                start = 0
                part.unlink(missing_ok=True)
            elif not _continues(answer.headers, start):
                raise _restart(part, "the server sent another range than was asked for")
            total = _total(url, answer.headers, start, size)
            _refuse_full_disk(url, part, (total or 0) - start)
            _remember(url, part, answer.headers, total)
            _append(url, answer, part, start, total, progress)
    except HTTPError as error:
        _judge(url, part, error)
    except (URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise _Interrupted(str(getattr(error, "reason", error)) or type(error).__name__) from None


def _opener() -> OpenerDirector:
    """urllib without the doors to ftp, data and local files."""
    opener = OpenerDirector()
    for handler in (
        ProxyHandler,
        HTTPHandler,
        HTTPSHandler,
        _Redirects,
        HTTPErrorProcessor,
        HTTPDefaultErrorHandler,
        UnknownHandler,
    ):
        opener.add_handler(handler())
    return opener


def _resumable(url: str, part: Path) -> tuple[int, str | None, int | None]:
    """Where to go on, the proof that the file is the same, its bytes; ``(0, None, None)`` to start again."""
    with suppress(OSError, ValueError):
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        if isinstance(note, dict) and note.get("url") == url and isinstance(note.get("validator"), str):
            there = _bytes(part)
            return (there, note["validator"], note.get("total")) if there else (0, None, None)
    return 0, None, None


def _remember(url: str, part: Path, headers: Message, total: int | None) -> None:
    etag = headers.get("ETag", "")
    # A weak tag promises the same meaning, not the same bytes.
    validator = etag if etag and not etag.startswith("W/") else headers.get("Last-Modified")
    write_json(_note(part), {"url": url, "validator": validator, "total": total})


def _continues(headers: Message, start: int) -> bool:
    return headers.get("Content-Range", "").startswith(f"bytes {start}-")


def _restart(part: Path, why: str) -> _Interrupted:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)
    return _Interrupted(why)


def _total(url: str, headers: Message, start: int, size: int | None) -> int | None:
    """The whole file's bytes as the server announces them, or as they are known."""
    length = headers.get("Content-Length", "")
    ranged = re.fullmatch(r"bytes \d+-\d+/(\d+)", headers.get("Content-Range", ""))
    announced = int(ranged[1]) if ranged and start else int(length) if length.isdigit() else None
    if announced is not None and size is not None and announced != size:
        problem = f"the server announces {announced:,} bytes where {size:,} are expected"
        raise UserError(url, problem, "the file has changed; look at the set's page")
    return announced if announced is not None else size


def _refuse_full_disk(url: str, part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if needed > free:
        problem = f"needs {needed / 2**30:.1f} GiB where {free / 2**30:.1f} GiB are free"
        raise UserError(
            url, problem, f"make room in {part.parent}, or choose another folder with into=FOLDER"
        )


def _append(url: str, answer: Any, part: Path, start: int, total: int | None, progress: Progress) -> None:
    done = start
    with part.open("ab" if start else "wb") as target:
        while chunk := answer.read(_CHUNK):
            done += len(chunk)
            if total is not None and done > total:
                raise UserError(url, f"sends more than the {total:,} bytes it announced", "try again later")
            target.write(chunk)
            progress(done, total)
    if total is not None and done < total:
        raise _Interrupted(f"the connection broke after {done:,} of {total:,} bytes")


def _judge(url: str, part: Path, error: HTTPError) -> None:
    """Decides whether a refusal is worth another try."""
    if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise _restart(part, "the file on the server is shorter than what is here") from None
    if error.code in _PASSING:
        raise _Interrupted(f"HTTP {error.code} {error.reason}") from None
    raise UserError(
        url, f"the server answers {error.code} {error.reason}", "look at the set's page"
    ) from None
