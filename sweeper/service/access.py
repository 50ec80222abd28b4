"""Tokens: who asks, and what the asking one may do.

A token is `sweeper_ID_SECRET`. The database has the SHA-256 of the secret alone, which is compared
in constant time; the secret is 256 random bits, so nothing slower than SHA-256 is needed.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

from sweeper.errors import InputError
from sweeper.store.accounts import Accounts
from sweeper.store.service_records import Role, Token

FORM = re.compile(r"sweeper_([0-9a-f]{12})_([A-Za-z0-9_-]{43})")
PERSON = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
STATIC = "/static/"
SHARED = ("", "/stream", "/figures", "/report")  # what a link shows, after /s/NAME
RUN = re.compile(r"/runs/\d+")
_NOBODY = "0" * 64  # compared where there is no such token, so that both answers take as long


@dataclass(frozen=True, kw_only=True)
class Access:
    """The owner of a valid token.

    Attributes:
        token: its id.
        sweep: the one sweep that a link shows; None: the token is no link.
        text: the token itself, from which the proofs in forms are made.
    """

    owner: str
    role: Role
    token: str
    sweep: str | None = None
    text: str = field(default="", repr=False)

    @property
    def may_command_all(self) -> bool:
        """Whether sweeps of other owners obey it too."""
        return self.role is Role.ADMIN

    def may_read(self, path: str) -> bool:
        """Whether a link shows the page at that path; a token may ask for every path."""
        if self.sweep is None or path.startswith(STATIC):
            return True
        return path in {f"/s/{self.sweep}{part}" for part in SHARED} or (
            RUN.fullmatch(path.removeprefix(f"/s/{self.sweep}")) is not None
        )

    def proof(self, action: str) -> str:
        """A word for a form, which only a page of ours that was made for this token can have."""
        return hmac.new(self.text.encode(), f"form {action}".encode(), "sha256").hexdigest()

    def proves(self, action: str, word: str) -> bool:
        """Whether a form's word is the right one."""
        return hmac.compare_digest(self.proof(action).encode(), word.encode())


def new_token(
    accounts: Accounts,
    *,
    label: str,
    owner: str,
    role: Role,
    days: float | None,
    who: str,
    sweep: str | None = None,
) -> tuple[str, Token]:
    """Makes a token; returns its text, which is shown once, and what is stored.

    Args:
        sweep: makes it a link to the page of that sweep.

    Raises:
        InputError: the owner's name cannot be used.
    """
    if not PERSON.fullmatch(owner):
        raise InputError(
            f"owner: {owner!r}: use letters, digits and . _ @ -, at most 64, such as ann@lab"
        )
    ident, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    stored = accounts.add_token(
        ident=ident,
        digest=_digest(secret),
        label=label,
        owner=owner,
        role=role,
        lasts_s=None if days is None else days * 86400,
        who=who,
        sweep=sweep,
    )
    return f"sweeper_{ident}_{secret}", stored


def access(accounts: Accounts, text: str) -> Access | None:
    """Returns what a token allows now; None if it is not valid."""
    found = FORM.fullmatch(text[:200])
    if found is None:
        return None
    token = accounts.token(found[1])
    known = _NOBODY if token is None else token.hash
    same = hmac.compare_digest(known, _digest(found[2]))
    if token is None or not same:
        return None
    return Access(owner=token.owner, role=token.role, token=token.id, sweep=token.sweep, text=text)


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
