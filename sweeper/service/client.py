"""Talks to a service from another process or another machine: `sweeper.connect(url)`."""

from __future__ import annotations

import json
import os
import ssl
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener
from uuid import uuid4

from sweeper.errors import InputError, SpecError, SweeperError

TIMEOUT_SECONDS = 30.0
LONG_SECONDS = 600.0  # for an archive: of 10,000 runs it takes a while
TRIES, PAUSE_SECONDS = 3, 0.5
LOOPBACK = ("127.0.0.1", "localhost", "::1")
ROOT = "/api/v1"
TOKEN = "SWEEPER_TOKEN"  # noqa: S105  the variable's name


class ServiceLost(SweeperError):
    """The service does not answer; the same command may be repeated."""


class _NoRedirects(HTTPRedirectHandler):
    """A redirect would carry the token to another place."""

    def redirect_request(
        self, req: Request, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


class Service:
    """A service, as a user with a token may use it.

    A wish is sent again, with the same key, if no answer comes: it has the effect of one.

    Args:
        url: such as https://sweeps.example.org.
        token: as `sweeper login` stores it.

    Raises:
        InputError: the URL is none, or would send the token readable over a network.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"{url!r}: not the address of a service, such as https://HOST")
        if parts.scheme == "http" and parts.hostname not in LOOPBACK:
            raise InputError(
                f"{url!r}: the token would cross the network readable; use https://, or "
                f"ssh -L {parts.port or 8090}:127.0.0.1:{parts.port or 8090} {parts.hostname}"
            )
        self.url = f"{parts.scheme}://{parts.netloc}"
        self._token = token
        self._opener = build_opener(
            _NoRedirects, HTTPSHandler(context=ssl.create_default_context())
        )

    def __repr__(self) -> str:
        return f"Service({self.url!r})"

    # --- reading

    def me(self) -> dict[str, Any]:
        """The owner and the role of the token; `limits`, `used` and what is `left`."""
        return self._json("GET", "/me")

    def queue(self, *, skip: int = 0, most: int = 1000) -> dict[str, Any]:
        """Sweeps with state, place and expected start, those that run or wait first.

        Args:
            skip: how many to leave out; `total` is the number of all.
            most: at most 1000.
        """
        return self._json("GET", f"/sweeps?{urlencode({'skip': skip, 'most': most})}")

    def show(self, name: str) -> dict[str, Any]:
        """A sweep, with its runs, commands and events."""
        return self._json("GET", f"/sweeps/{quote(name, safe='')}")

    def logs(self, name: str) -> str:
        """The end of what its drivers have written."""
        return self._text("GET", f"/sweeps/{quote(name, safe='')}/logs")

    def report(self, name: str) -> str:
        """The report, one self-contained page."""
        return self._text("GET", f"/sweeps/{quote(name, safe='')}/report")

    def archive(self, name: str) -> bytes:
        """Everything about a sweep as one file, for its owner; `sweeper import` reads it."""
        path = f"/sweeps/{quote(name, safe='')}/archive"
        return self._bytes("GET", path, timeout=LONG_SECONDS)

    def best(self, name: str) -> dict[str, Any]:
        """The recommended configuration with its evidence."""
        return self._json("GET", f"/sweeps/{quote(name, safe='')}/best")

    def events(self, name: str | None = None, *, after: int = 0) -> list[dict[str, Any]]:
        """Events with numbers above `after`, oldest first."""
        words = {"after": str(after)} | ({} if name is None else {"name": name})
        return self._json("GET", f"/events?{urlencode(words)}")["events"]

    # --- wishes

    def submit(
        self,
        spec: str | os.PathLike[str],
        *,
        set: Sequence[str] = (),
        priority: str = "normal",
        after: str = "",
        at: str = "",
        until: str = "",
        notify: Sequence[str] = (),
        key: str | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Adds a sweep to the queue; returns its name, size and place.

        Args:
            spec: a spec file, the name of a shipped space, or the YAML text itself.
            set: `KEY=VALUE`, in the place of values of the spec.
            priority: high, normal or low.
            after: the name of a sweep that must have finished before.
            at, until: a daily window as HH:MM, in the server's time.
            notify: addresses that get a message about each event of the sweep; the service's
                owner has allowed their hosts.
            key: the same key is the same wish; a new one where none is given.
            dry_run: only checks.

        Raises:
            SpecError: a line for each thing that is wrong.
            InputError: the service refuses it.
        """
        body = {
            "spec": _spec_text(spec),
            "set": list(set),
            "priority": priority,
            "after": after,
            "at": at,
            "until": until,
            "notify": list(notify),
            "dry_run": dry_run,
        }
        return self._json("POST", "/sweeps", body, key=key)

    def stop(self, name: str, **options: Any) -> dict[str, Any]:
        """Stops a sweep after its round; `resume` continues it."""
        return self.command(name, "stop", **options)

    def resume(self, name: str, **options: Any) -> dict[str, Any]:
        """Continues a sweep that was stopped, was halted or needs attention."""
        return self.command(name, "resume", **options)

    def cancel(self, name: str, **options: Any) -> dict[str, Any]:
        """Ends a sweep; what it has recorded stays."""
        return self.command(name, "cancel", **options)

    def retry(
        self,
        name: str,
        *,
        reasons: Sequence[str] = (),
        hours: float | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """Tries failed runs again: all, or those that failed for some reasons or lately.

        Args:
            hours: only runs that failed in the last so many hours.
        """
        body: dict[str, Any] = {"reasons": list(reasons)}
        if hours is not None:
            body["hours"] = hours
        return self.command(name, "retry", body, **options)

    def extend(self, name: str, *, set: Sequence[str], **options: Any) -> dict[str, Any]:
        """Changes values of a sweep's spec, such as `replicates=10`; what is missing runs."""
        return self.command(name, "extend", {"set": list(set)}, **options)

    def priority(self, name: str, priority: str, **options: Any) -> dict[str, Any]:
        """Changes a sweep's priority class: high, normal or low."""
        return self.command(name, "priority", {"priority": priority}, **options)

    def clone(
        self,
        name: str,
        new: str,
        *,
        set: Sequence[str] = (),
        priority: str = "normal",
        key: str | None = None,
        dry_run: bool = False,
    ) -> dict[str, Any]:
        """Submits a changed copy of a sweep under the name `new`; returns as `submit` does."""
        body = {"name": new, "set": list(set), "priority": priority, "dry_run": dry_run}
        return self._json("POST", f"/sweeps/{quote(name, safe='')}/clone", body, key=key)

    def command(
        self,
        name: str,
        verb: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        dry_run: bool = False,
        why: str = "",
    ) -> dict[str, Any]:
        """Sends a command about a sweep.

        Args:
            key: the same key is the same wish.
            dry_run: only checks.
            why: for the log of events.
        """
        given = {**(body or {}), "dry_run": dry_run, "why": why}
        return self._json("POST", f"/sweeps/{quote(name, safe='')}/{verb}", given, key=key)

    # --- links

    def links(self, name: str) -> list[dict[str, Any]]:
        """The links to a sweep's page, without their secrets."""
        return self._json("GET", f"/sweeps/{quote(name, safe='')}/links")["links"]

    def add_link(self, name: str, *, days: float, label: str = "") -> dict[str, Any]:
        """Makes a link that shows a sweep's page until it expires; `url` is shown only once."""
        body = {"days": days, "label": label}
        found = self._json("POST", f"/sweeps/{quote(name, safe='')}/links", body)
        return {"url": f"{self.url}{found.pop('path')}", **found}

    def revoke_link(self, name: str, ident: str) -> dict[str, Any]:
        """Makes a link invalid."""
        path = f"/sweeps/{quote(name, safe='')}/links/{quote(ident, safe='')}"
        return self._json("DELETE", path)

    # --- administration

    def tokens(self) -> list[dict[str, Any]]:
        """All tokens, without their secrets."""
        return self._json("GET", "/tokens")["tokens"]

    def add_token(
        self, owner: str, *, role: str, label: str = "", days: float | None = None
    ) -> dict[str, Any]:
        """Makes a token; its text is in the answer, and is shown only once."""
        body = {"owner": owner, "role": role, "label": label, "days": days}
        return self._json("POST", "/tokens", body)

    def revoke(self, ident: str) -> dict[str, Any]:
        """Makes a token invalid."""
        return self._json("DELETE", f"/tokens/{quote(ident, safe='')}")

    def owners(self) -> dict[str, Any]:
        """Limits, use and what is left of every owner."""
        return self._json("GET", "/owners")["owners"]

    def set_owner(self, owner: str, limits: Mapping[str, float | None]) -> dict[str, Any]:
        """Sets an owner's share and limits; those that are not named are none.

        Args:
            limits: weight, most_sweeps, most_workers, most_hours, most_money.
        """
        return self._json("PUT", f"/owners/{quote(owner, safe='')}", limits)

    # --- requests

    def _json(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
    ) -> dict[str, Any]:
        found = json.loads(self._text(method, path, body, key=key))
        return {name: value for name, value in found.items() if name != "version"}

    def _text(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
    ) -> str:
        return self._bytes(method, path, body, key=key).decode()

    def _bytes(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> bytes:
        headers = {"Authorization": f"Bearer {self._token}", "Idempotency-Key": key or uuid4().hex}
        data = None
        if body is not None:
            data, headers["Content-Type"] = json.dumps(body).encode(), "application/json"
        request = Request(f"{self.url}{ROOT}{path}", data, headers, method=method)  # noqa: S310
        for left in reversed(range(TRIES)):
            try:
                with self._opener.open(request, timeout=timeout) as answer:
                    return answer.read()
            except HTTPError as error:
                if error.code < 500 or not left:
                    raise _refused(error) from None
            except (URLError, OSError, HTTPException) as error:
                if not left:
                    reason = getattr(error, "reason", error)
                    raise ServiceLost(f"{self.url} does not answer: {reason}") from error
            time.sleep(PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")


def _refused(error: HTTPError) -> SweeperError:
    try:
        found = json.loads(error.read())
        lines = [str(line) for line in found["lines"]]
    except (ValueError, KeyError, TypeError, OSError):
        lines = [f"the service answers {error.code} {error.reason}"]
    if error.code >= 500:
        return ServiceLost("; ".join(lines))
    return SpecError(*lines)


def _spec_text(spec: str | os.PathLike[str]) -> str:
    if isinstance(spec, str) and "\n" in spec:
        return spec
    from sweeper.lookup import find_spec
    from sweeper.spec import document

    return document.read(find_spec(os.fspath(spec)))


def connect(url: str | None = None, *, token: str | None = None) -> Service:
    """Returns a service; without arguments the one of `sweeper login`.

    Args:
        url: its address.
        token: else the variable SWEEPER_TOKEN, or what `sweeper login` has stored for it.

    Raises:
        InputError: there is no address or no token.
    """
    stored = logins()
    address = (url or os.environ.get("SWEEPER_SERVICE") or stored.get("last", "")).rstrip("/")
    if not address:
        raise InputError("no service: sweeper login URL, or set SWEEPER_SERVICE")
    service = Service(address, "")
    text = token or os.environ.get(TOKEN) or stored.get("tokens", {}).get(service.url)
    if not text:
        raise InputError(f"no token for {service.url}: sweeper login {service.url}")
    return Service(service.url, text)


# --- what `sweeper login` stores


def login_file() -> Path:
    """The file with the user's tokens, which only this user can read."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(home, "sweeper", "logins.json")


def logins() -> dict[str, Any]:
    """`last`: the service of the last login; `tokens`: by the service's address.

    Raises:
        InputError: the file cannot be read, or others can read it.
    """
    path = login_file()
    try:
        if path.stat().st_mode & 0o077:
            raise InputError(f"{path}: others can read the tokens in it; chmod 600 {path}")
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}; remove it, and log in") from error
    return found if isinstance(found, dict) else {}


def store_login(url: str, token: str) -> Path:
    """Stores a token for a service, and makes that service the one to use."""
    path, stored = login_file(), logins()
    new = {"last": url, "tokens": {**stored.get("tokens", {}), url: token}}
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{uuid4().hex}")
    with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as file:
        json.dump(new, file, indent=2)
    temporary.replace(path)
    return path
