"""A short folder for Ray's files, readable by this user only.

Ray's sockets are in a session's folder below it, and a socket's path has at most 107 bytes. The
TMPDIR of a cluster's job may be too long for that.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from sweeper.errors import InputError

LONGEST = 107  # bytes of a socket's path on Linux, without the final zero
NAMED = ("RAY_TMPDIR", "TMPDIR")  # the user's choice, in the order in which Ray looks
OTHERS = ("/tmp", "/var/tmp")  # noqa: S108  a folder is made there with a name that is new
SHARED = "/dev/shm"  # noqa: S108  where Ray puts its store of objects
PREFIX = "ray-"
ROOM = len(PREFIX) + 9  # with the slash before and the suffix of `mkdtemp`


@dataclass(frozen=True)
class SocketFolder:
    """A folder for Ray's folder, and why it cannot be used; empty if it can."""

    folder: str
    name: str  # the variable that names it, or the folder itself
    fault: str


def below() -> int:
    """The bytes that Ray adds to its folder: a session, named by time and process, and a socket."""
    return len(f"/session_2026-01-01_00-00-00_000000_{os.getpid()}/sockets/plasma_store")


def places(environment: Mapping[str, str] = os.environ) -> Iterator[SocketFolder]:
    """All possible folders, the user's choice first."""
    named = [(name, environment.get(name, "")) for name in NAMED]
    own = environment.get("XDG_RUNTIME_DIR", "")
    for name, folder in (*named, *zip(OTHERS, OTHERS, strict=True), ("XDG_RUNTIME_DIR", own)):
        if folder:
            whole = os.path.abspath(folder)
            yield SocketFolder(whole, name, _fault(whole))


def _fault(folder: str) -> str:
    """Why no socket can be made below a folder, found by making one."""
    length, most = len(os.fsencode(folder)), LONGEST - below() - ROOM
    if length > most:
        return f"its path has {length} bytes, Ray's sockets leave room for {most}"
    try:
        made = tempfile.mkdtemp(prefix=PREFIX, dir=folder)
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    try:
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(os.path.join(made, "x" * (below() - 1)))
    except OSError as error:
        return f"takes no sockets ({error.strerror or error})"
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return ""


def check(environment: Mapping[str, str] = os.environ) -> str:
    """The first folder that Ray can use.

    Raises:
        InputError: there is none.
    """
    faults = []
    for place in places(environment):
        if not place.fault:
            return place.folder
        at = place.folder if place.name == place.folder else f"{place.name} ({place.folder})"
        faults.append(f"{at}: {place.fault}")
    raise InputError(
        "Ray needs a folder for its sockets, and there is none: set TMPDIR to a shorter path that "
        f"you can write; tried: {'; '.join(faults)}"
    )


def make() -> Path:
    """Makes a new folder for Ray's files, which no other user can read.

    Raises:
        InputError: no folder can be used.
    """
    return Path(tempfile.mkdtemp(prefix=PREFIX, dir=check()))


def writable(folder: str | Path) -> bool:
    """Returns whether a file can be made in a folder, by making one without a name."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError:
        return False
    return True
