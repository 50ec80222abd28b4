"""A service in this process, with a token for each role, and a way to ask it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from asking import HOST, Answer, ask
from command import TINY

from sweeper.service.access import new_token
from sweeper.service.checking import examine
from sweeper.service.desk import Desk
from sweeper.service.drivers import ServiceFolder
from sweeper.service.gate import Gate
from sweeper.service.routes import ROOT, application
from sweeper.store import Store
from sweeper.store.accounts import Accounts
from sweeper.store.service_records import Role
from sweeper.store.wishes import Wishes
from sweeper.watch.regions import Around
from sweeper.watch.routes import Watcher
from sweeper.watch.source import WatchedDatabase

ORIGIN = f"http://{HOST}"


class Here:
    """Checks specs in this process."""

    def check(self, text: str, overrides: list[str], *, stored: bool = False) -> Any:
        registry = {"loans": {"dataset": "table", "path": "/data/loans.csv", "target": "status"}}
        return examine(text, overrides, (), registry, stored=stored)


class Site:
    """An API over a fresh database, with a token for each role of some owners."""

    def __init__(self, folder: Path) -> None:
        self.store = Store.open(f"sqlite:///{folder}/s.db", create=True)
        self.wishes, self.folder = Wishes(self.store.database), ServiceFolder(folder / "service")
        checker: Any = Here()
        self.desk = Desk(self.store, checker=checker, folder=self.folder)
        self.routes = application(self.desk)
        self.app = Gate(self.routes, hosts=frozenset({HOST}), known=self.desk.known)  # type: ignore[arg-type]
        self.tokens = {
            name: self.token(name.partition(" ")[0], Role(role))
            for name, role in {
                "ann": "submitter", "bob": "submitter", "eve": "reader", "root": "admin",
            }.items()
        }  # fmt: skip

    def token(self, owner: str, role: Role, days: float | None = None) -> str:
        return new_token(
            Accounts(self.store.database),
            label="",
            owner=owner,
            role=role,
            days=days,
            who="test",
        )[0]

    def ask(self, who: str, method: str, path: str, body: Any = None, **more: Any) -> Answer:
        return ask(self.app, method, f"{ROOT}{path}", body, token=self.tokens.get(who), **more)

    def submit(self, who: str = "ann", name: str = "tiny", **more: Any) -> Answer:
        given = {"spec": TINY.replace("name: tiny", f"name: {name}"), **more}
        return self.ask(who, "POST", "/sweeps", given)

    @contextmanager
    def pages(self) -> Iterator[Any]:
        """The service with its pages, behind the gate."""
        url = f"sqlite:///{self.store.database.address.path}"
        watcher = Watcher(WatchedDatabase(url, hosts=True, around=Around.SERVICE))
        shared = Watcher(WatchedDatabase(url, around=Around.LINK))
        app: Any = application(self.desk, watcher, shared=shared)
        yield Gate(app, hosts=frozenset({HOST}), known=self.desk.known)
        watcher.close()
        shared.close()
