"""Who may use the service: tokens, and the shares and limits of owners; the API writes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, TypeVar

from sqlalchemy import Connection, insert, or_, select, update

from sweeper.store import dialects
from sweeper.store.database import Database
from sweeper.store.service_records import Owner, Role, Token
from sweeper.store.service_tables import OwnerTable, TokenTable
from sweeper.store.tables import clock
from sweeper.store.wishes import WishRefused, note, owner_of

T = TypeVar("T")


class Accounts:
    """Tokens and owners. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def add_token(
        self,
        *,
        ident: str,
        digest: str,
        label: str,
        owner: str,
        role: Role,
        lasts_s: float | None,
        who: str,
        sweep: str | None = None,
    ) -> Token:
        """Adds a token: `digest` is the SHA-256 of its secret; it expires after `lasts_s`.

        Args:
            sweep: of a link.
        """

        def work(connection: Connection) -> Token:
            known = connection.execute(_token_query(ident)).mappings().first()
            if known is None:
                expires = None if lasts_s is None else clock() + lasts_s
                connection.execute(
                    insert(TokenTable).values(
                        id=ident, hash=digest, label=label, owner=owner, role=role,
                        created_at=clock(), expires_at=expires, revoked_at=None, sweep=sweep,
                    )
                )  # fmt: skip
                kind = "token" if sweep is None else "link"
                text = f"{role} token {ident} for {owner}" if sweep is None else f"link {ident}"
                why = f"{text}: {label}" if label else text
                note(connection, sweep or "", who, kind, why)
                known = connection.execute(_token_query(ident)).mappings().one()
            return _token(known)

        return self.database.write(work)

    def token(self, ident: str) -> Token | None:
        """The token of that name, if it is valid now: neither expired nor revoked."""
        valid = or_(TokenTable.expires_at.is_(None), TokenTable.expires_at > clock())
        query = _token_query(ident).where(TokenTable.revoked_at.is_(None), valid)
        found = self._all(query, _token)
        return found[0] if found else None

    def tokens(self, *, sweep: str | None = None) -> list[Token]:
        """All tokens, or the links to a sweep, oldest first."""
        query = select(TokenTable.__table__).order_by(TokenTable.created_at)
        if sweep is not None:
            query = query.where(TokenTable.sweep == sweep)
        return self._all(query, _token)

    def revoke(self, ident: str, *, who: str, sweep: str | None = None) -> None:
        """Makes a token invalid from now on.

        Args:
            sweep: only a link to that sweep.

        Raises:
            WishRefused: there is no such token or link.
        """
        kind = "token" if sweep is None else "link"

        def work(connection: Connection) -> None:
            found = _token_query(ident)
            if sweep is not None:
                found = found.where(TokenTable.sweep == sweep)
            if connection.execute(found).first() is None:
                words = "sweeper token" if sweep is None else f"sweeper link {sweep} --list"
                raise WishRefused(f"no {kind} {ident!r}; {words} shows what there is")
            connection.execute(
                update(TokenTable)
                .where(TokenTable.id == ident, TokenTable.revoked_at.is_(None))
                .values(revoked_at=clock())
            )
            note(connection, sweep or "", who, kind, f"{kind} {ident} revoked")

        self.database.write(work)

    def set_owner(self, owner: Owner, *, who: str) -> None:
        """Sets an owner's share and limits."""
        row = asdict(owner)
        changes = [name for name in row if name != "owner"]

        def work(connection: Connection) -> None:
            query = dialects.upsert(connection, OwnerTable, keys=("owner",), changes=changes)
            connection.execute(query, row)
            limits = ", ".join(f"{name}={row[name]}" for name in changes if row[name] is not None)
            note(connection, "", who, "limits", f"{owner.owner}: {limits}")

        self.database.write(work)

    def owners(self) -> dict[str, Owner]:
        """The owners with a share or limits of their own."""
        query = select(OwnerTable.__table__)
        return {one.owner: one for one in self._all(query, owner_of)}

    def _all(self, query: Any, record: Callable[[Mapping[Any, Any]], T]) -> list[T]:
        rows = self.database.read(lambda connection: connection.execute(query).mappings().all())
        return [record(row) for row in rows]


def _token(row: Mapping[Any, Any]) -> Token:
    return Token(**{**row, "role": Role(row["role"])})


def _token_query(ident: str) -> Any:
    return select(TokenTable.__table__).where(TokenTable.id == ident)
