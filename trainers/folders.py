"""A folder of files, on a disk or on shared storage; files are written whole.

URLs are those of fsspec: `s3://bucket/folder`, `gs://bucket/folder`. A path and `file:///folder`
mean this machine's disk.
"""

from __future__ import annotations

import shutil
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from trainers import files

T = TypeVar("T")

MARK = "://"
DISK = ("file", "local")
# Object stores have no folders. Creating a folder there could create the bucket of a mistyped name.
FLAT = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oci", "oss", "memory"})
PROBE = "sweeper-can-write-here"


class Folder(ABC):
    """Files by name. Every method raises OSError if the storage fails."""

    @abstractmethod
    def names(self) -> list[str]:
        """The names of the files; none if the folder does not exist."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Returns a file's content."""

    @abstractmethod
    def write(self, name: str, content: bytes) -> None:
        """Writes or replaces a file: a reader sees the old or the new content, never a part."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Removes a file, if it exists."""

    @abstractmethod
    def clear(self) -> None:
        """Removes the folder and its content, if it exists; what cannot be removed stays."""


class Disk(Folder):
    """A folder on a disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        if not self.path.is_dir():
            return []
        return [path.name for path in self.path.iterdir()]

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def write(self, name: str, content: bytes) -> None:
        files.write(self.path / name, content)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def clear(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


class UrlFolder(Folder):
    """A folder at a URL: a file is written under a temporary name, then moved."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._flat = protocol(url) in FLAT
        self._storage, self._path = self._try(lambda: _opened(url))

    def names(self) -> list[str]:
        def listed() -> list[str]:
            self._storage.invalidate_cache()  # other nodes write here too
            try:
                found = self._storage.ls(self._path, detail=False)
            except FileNotFoundError:
                return []
            return [str(one).rstrip("/").rpartition("/")[2] for one in found]

        return self._try(listed)

    def read(self, name: str) -> bytes:
        return self._try(lambda: self._storage.cat_file(self._at(name)))

    def write(self, name: str, content: bytes) -> None:
        temporary = self._at(f"{name}.{uuid.uuid4().hex}.tmp")

        def replace() -> None:
            if not self._flat:
                self._storage.makedirs(self._path, exist_ok=True)
            self._storage.pipe_file(temporary, content)
            self._storage.mv(temporary, self._at(name))

        try:
            self._try(replace)
        except OSError:
            self._discard(temporary)
            raise

    def remove(self, name: str) -> None:
        self._try(lambda: self._gone(self._at(name)))

    def clear(self) -> None:
        self._discard(self._path, recursive=True)

    def _discard(self, path: str, *, recursive: bool = False) -> None:
        """Removes a file that is no longer needed; keeps it if the storage fails."""
        try:
            self._try(lambda: self._gone(path, recursive=recursive))
        except OSError:
            return

    def _gone(self, path: str, *, recursive: bool = False) -> None:
        try:
            self._storage.rm(path, recursive=recursive)
        except FileNotFoundError:
            return

    def _at(self, name: str) -> str:
        return f"{self._path}/{name}"

    def _try(self, ask: Callable[[], T]) -> T:
        """Returns the storage's answer; turns any exception into an OSError with one line."""
        try:
            return ask()
        except FileNotFoundError:
            raise
        except Exception as error:  # each storage raises its own errors
            text = " ".join(str(error).split()) or type(error).__name__
            raise OSError(f"{without_user(self.url)}: {text}") from error


def opened(place: str | Path) -> Folder:
    """Opens the folder at a path or URL.

    Raises:
        OSError: the package for this kind of URL is missing, or the storage does not answer.
    """
    text = str(place)
    if is_url(text):
        return UrlFolder(text.rstrip("/"))
    return Disk(Path(local(text)))


def local(place: str) -> str:
    """The path on this machine's disk of a path or a `file:///folder` URL."""
    return place.removeprefix(f"{protocol(place)}{MARK}")


def is_url(place: str) -> bool:
    """Returns whether this is the URL of a shared storage, not a path or `file:///folder`."""
    return MARK in place and protocol(place) not in DISK


def protocol(place: str) -> str:
    """The part before `://`; empty for a path."""
    return place.partition(MARK)[0] if MARK in place else ""


def without_user(url: str) -> str:
    """A URL for messages, without user and password."""
    kind, mark, rest = url.rpartition(MARK)
    server, slash, path = rest.partition("/")
    return f"{kind}{mark}{server.rpartition('@')[2]}{slash}{path}"


def fault(place: str) -> str:
    """Why a URL cannot be used, and the fix; empty if it can. Contacts no server."""
    kind = protocol(place)
    if kind in DISK:
        return "" if place.startswith(f"{kind}:///") else f"write {kind}:///folder"
    if "::" in place:
        return "chained URLs (::) are not supported; name the storage itself"
    if urlsplit(place).password:
        return "a password in the URL would be sent to every node; give it by the environment"
    return _unknown(kind)


def _unknown(kind: str) -> str:
    from fsspec import get_filesystem_class
    from fsspec.registry import known_implementations

    try:
        get_filesystem_class(kind)
    except ImportError:
        package = known_implementations[kind]["class"].split(".")[0]
        return f"{kind}:// needs the package {package}: pip install {package}, on every node"
    except ValueError:
        return f"{kind}:// is not known; s3://, gs:// or a path are"
    return ""


def try_out(place: str | Path) -> None:
    """Writes a small file, reads it again and removes it.

    Raises:
        OSError: one of these steps fails.
    """
    folder, name, content = opened(place), f"{PROBE}-{uuid.uuid4().hex}", uuid.uuid4().bytes
    folder.write(name, content)
    try:
        if folder.read(name) != content:
            raise OSError(f"{place}: what was written is not what is read")
    finally:
        folder.remove(name)


def _opened(url: str) -> tuple[Any, str]:
    from fsspec.core import url_to_fs

    return url_to_fs(url)
