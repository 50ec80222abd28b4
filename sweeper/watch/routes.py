"""The routes of the live pages: everything is read with GET, and nothing is written.

`routes` is all that a server needs: `sweeper watch` serves them alone, and a service may serve the
same pages beside its own.
"""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from sweeper.errors import NothingStored, SweeperError
from sweeper.watch import pages
from sweeper.watch.board import cursor
from sweeper.watch.feed import PageFeed
from sweeper.watch.source import WatchedDatabase, WatchedSweep
from sweeper.watch.stream import EventStream

Handler = Callable[[Request], Awaitable[ASGIApp]]
HEADERS = {"content-security-policy": pages.POLICY}


class Watcher:
    """The feeds of a database's sweeps; each is made when its page is first opened.

    Args:
        root: what stands before every path; empty at the root of a port.
    """

    def __init__(self, source: WatchedDatabase, *, root: str = "") -> None:
        self.source, self.root, self.around = source, root, source.around
        self._feeds: dict[str, PageFeed] = {}

    async def feed(self, name: str) -> PageFeed:
        """The feed of a sweep, after a look.

        Raises:
            SweeperError: there is no such sweep, or the database does not answer.
        """
        found = self._feeds.get(name) or PageFeed(WatchedSweep(self.source, name))
        await found.ready()
        return self._feeds.setdefault(name, found)

    @property
    def readers(self) -> int:
        """How many pages have a stream open."""
        return sum(feed.readers for feed in self._feeds.values())

    @property
    def lag_s(self) -> float:
        """The age of the oldest look that a reader of a stream is shown; 0 without readers."""
        return max((feed.look_age_s for feed in self._feeds.values() if feed.readers), default=0.0)

    def close(self) -> None:
        for feed in self._feeds.values():
            feed.close()
        self.source.close()


def routes(chosen: Callable[[Request], Watcher]) -> list[Route]:
    """The routes of the pages.

    Args:
        chosen: the watcher for who asks.
    """
    served = {
        "/": _listed,
        "/s/{name}": _page,
        "/s/{name}/stream": _stream,
        "/s/{name}/figures": _figures,
        "/s/{name}/runs/{run:int}": _run,
        "/s/{name}/report": _report,
    }
    found = [Route(path, _guarded(chosen, handler)) for path, handler in served.items()]
    return [*found, Route("/static/{version}/{name}", _static)]


def application(watcher: Watcher) -> Starlette:
    """The pages as an application of their own."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        watcher.close()

    return Starlette(routes=routes(lambda request: watcher), lifespan=lifespan)


def _guarded(
    chosen: Callable[[Request], Watcher], handler: Callable[[Watcher, Request], Awaitable[Any]]
) -> Any:
    """A handler whose errors are answers."""

    async def answered(request: Request) -> Any:
        watcher = chosen(request)
        try:
            return await handler(watcher, request)
        except NothingStored as error:
            text = pages.missing(
                str(error),
                name=request.path_params.get("name", "All sweeps"),
                root=watcher.root,
                around=watcher.around,
            )
            return HTMLResponse(text, 404, headers=HEADERS)
        except SweeperError as error:
            text = pages.scrub(str(error))
            return PlainTextResponse(f"{text}\n", 503, headers={"retry-after": "5"})

    return answered


async def _listed(watcher: Watcher, request: Request) -> Response:
    asked = request.query_params.get("skip", "0")
    skip = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 10 else 0
    entries, total = await asyncio.to_thread(watcher.source.listing.page, skip=skip)
    html = pages.listed(entries, total=total, skip=skip, root=watcher.root, around=watcher.around)
    return HTMLResponse(html, headers=HEADERS)


async def _page(watcher: Watcher, request: Request) -> Response:
    feed = await watcher.feed(request.path_params["name"])
    html = feed.page(root=watcher.root, around=watcher.around)
    return HTMLResponse(html, headers=HEADERS)


async def _stream(watcher: Watcher, request: Request) -> EventStream:
    """The changes after the last one that the reader has: by its header, or the address."""
    known = request.headers.get("last-event-id") or request.query_params.get("after")
    feed = await watcher.feed(request.path_params["name"])
    return EventStream(feed.changes(cursor(known)))


async def _figures(watcher: Watcher, request: Request) -> Response:
    feed = await watcher.feed(request.path_params["name"])
    return _packed("application/json", await asyncio.to_thread(feed.figures), request)


async def _run(watcher: Watcher, request: Request) -> Response:
    feed = await watcher.feed(request.path_params["name"])
    found = await asyncio.to_thread(feed.source.run, request.path_params["run"])
    if found is None:
        return JSONResponse({"text": "This run is no longer part of the sweep."}, 404)
    return JSONResponse(found)


async def _report(watcher: Watcher, request: Request) -> Response:
    """The report as `sweeper report` writes it, one file."""
    feed = await watcher.feed(request.path_params["name"])
    text = await asyncio.to_thread(feed.source.report)
    name = request.path_params["name"]
    headers = {"content-disposition": f'attachment; filename="{name}.html"'}
    return HTMLResponse(text, headers=headers)


async def _static(request: Request) -> Response:
    asset = pages.assets().get(request.path_params["name"])
    if asset is None or request.path_params["version"] != pages.version():
        return PlainTextResponse("Nothing here.\n", 404)
    headers = {"cache-control": "public, max-age=31536000, immutable"}
    return _coded(asset.kind, asset.plain, asset.packed, request, headers)


def _packed(kind: str, packed: bytes, request: Request) -> Response:
    return _coded(kind, None, packed, request, {})


def _coded(
    kind: str, plain: bytes | None, packed: bytes, request: Request, headers: dict[str, str]
) -> Response:
    """The compressed bytes for who takes them."""
    headers = {"vary": "accept-encoding", **headers}
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
        return Response(packed, media_type=kind, headers=headers)
    return Response(plain or gzip.decompress(packed), media_type=kind, headers=headers)
