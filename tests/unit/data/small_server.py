"""A real HTTP server on this machine, with ranges, and with the faults that servers and networks have."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Site:
    """What the server serves under any path, and how it misbehaves.

    Attributes:
        content: the file.
        etag: its tag; ``None`` sends none.
        break_after: bytes of a body after which the connection is cut, per request, while any are left.
        statuses: status codes to answer with first, one per request.
        ranges: whether ranges are honoured.
        announce: a wrong ``Content-Length``.
        redirect: where to send everyone.
        requests: the headers of each request, as they came.
    """

    content: bytes
    etag: str | None = '"one"'
    break_after: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    announce: int | None = None
    redirect: str | None = None
    requests: list[dict[str, str]] = field(default_factory=list)


@contextmanager
def serving(site: Site) -> Iterator[str]:
    """Serves the site from a thread; yields its address, without a slash at the end."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            site.requests.append(dict(self.headers.items()))
            if site.statuses:
                self.send_error(site.statuses.pop(0))
                return
            if site.redirect is not None:
                self.send_response(302)
                self.send_header("Location", site.redirect)
                self.end_headers()
                return
            self._send(self._start())

        def _start(self) -> int | None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            same = self.headers.get("If-Range") in (None, site.etag)
            return int(asked[1]) if asked and same and site.ranges else None

        def _send(self, start: int | None) -> None:
            if start is not None and start >= len(site.content):
                self.send_error(416)
                return
            body = site.content[start or 0 :]
            self.send_response(200 if start is None else 206)
            self.send_header("Content-Length", str(site.announce or len(body)))
            if start is not None:
                last = len(site.content) - 1
                self.send_header("Content-Range", f"bytes {start}-{last}/{len(site.content)}")
            if site.etag is not None:
                self.send_header("ETag", site.etag)
            self.end_headers()
            if site.break_after:
                self.wfile.write(body[: site.break_after.pop(0)])
                self.wfile.flush()
                self.connection.close()
                return
            self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
