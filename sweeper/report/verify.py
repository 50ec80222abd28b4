"""Whether a report says what its own data say: it is made again from them and compared.

A report is right when the file is, byte for byte, what the code at hand makes from the data
inside it. Otherwise each difference is told by section, with what is shown and what comes out.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import lru_cache
from html import unescape
from itertools import zip_longest
from pathlib import Path
from typing import Any

from sweeper import __version__
from sweeper.analysis.wording import FIXED
from sweeper.errors import InputError
from sweeper.report import archive as carry
from sweeper.report import page, sheet
from sweeper.report import several_page as several

MOST_BYTES = 256_000_000  # of a file; the largest report is a few megabytes
MOST_TOLD = 40  # differences that are printed
MOST_ALIGNED = 4000  # parts of two pages that are laid side by side
CONTEXT = 24  # characters told on each side of the first one that differs
DATA = re.compile(rb'<script type="application/zip" id="data">([A-Za-z0-9+/=]*)</script>')
MANIFEST = re.compile(rb'<script type="application/json" id="manifest">(.*?)</script>')
PART = re.compile(r"<script\b[^>]*>.*?</script>|<style>.*?</style>|<[^>]*>|[^<]+", re.DOTALL)
SECTION = re.compile(r'<section[^>]* aria-label(?:ledby)?="([^"]*)"')
HEADING = re.compile(r'<h2 id="([^"]*)"[^>]*>([^<]*)')
BLOCK = re.compile(r'<(?:script|style)\b[^>]*?(?: id="([^"]*)")?>')
OWN = {"data": "the data", "manifest": "the manifest", "figures": "figures"}
CODE = "code and style"
NO_DATA = "holds no data that can be read; was it made by an older Sweeper?"
MANY_DATA = "holds data more than once"
CUT = "\N{HORIZONTAL ELLIPSIS}"
REPLACED = "\N{REPLACEMENT CHARACTER}"  # for what a terminal would obey
VERSION = re.compile(r"[\w.+-]{1,40}")


@dataclass(frozen=True)
class Mismatch:
    """One place where the page is not what its data make."""

    where: str
    shown: str
    again: str

    def __str__(self) -> str:
        line = f"{self.where}: shows {self.shown}, its data give {self.again}"
        return "".join(one if one.isprintable() else REPLACED for one in line.replace(FIXED, " "))


@dataclass(frozen=True)
class Verification:
    """The result of a comparison; the page is right if there are no differences and no remark."""

    differences: tuple[Mismatch, ...]
    remark: str = ""

    @property
    def same(self) -> bool:
        return not self.differences and not self.remark


def verify(path: Path) -> Verification:
    """Compare the report at `path` with what its data make.

    Raises:
        InputError: it cannot be read, is no report of Sweeper's, or its data cannot be read.
    """
    raw = _read(path)
    again = _again(_block(raw, path), path, sheet_wanted=sheet.MARK.encode() in raw[:100])
    if raw == again.encode():
        return Verification(())
    made_by = _made_by(raw)
    text = raw.decode("utf-8", errors="replace")
    if made_by == __version__:
        return Verification(tuple(differences(text, again)))
    made_apart = (CODE, OWN["manifest"])
    told = [one for one in differences(text, again) if not one.where.startswith(made_apart)]
    remark = (
        f"made by Sweeper {made_by}, and this is {__version__}: "
        "code and style are not compared, and some of the rest may differ for that reason"
    )
    return Verification(tuple(told), remark)


def block_of(path: Path) -> bytes:
    """The data inside a report, as `archive.dump` or `archive.dump_all` wrote them.

    Raises:
        InputError: it cannot be read, or is no report of Sweeper's.
    """
    return _block(_read(path), path)


def _again(block: bytes, path: Path, *, sheet_wanted: bool = False) -> str:
    again = several.remake if carry.holds_several(block) else page.remake
    try:
        return sheet.remake(block) if sheet_wanted else again(block)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its data make no report ({type(error).__name__})") from error


def _read(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):  # a pipe or a device may have no end
            raise InputError(f"{path}: is not a file; name a page that sweeper report wrote")
        if found.st_size > MOST_BYTES:
            raise InputError(f"{path}: is larger than any report")
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    if page.GENERATOR.encode() not in raw[:4096]:
        raise InputError(f"{path}: is not a Sweeper report")
    if not raw.rstrip().endswith(b"</html>"):
        raise InputError(f"{path}: is cut off")
    return raw


def _block(raw: bytes, path: Path) -> bytes:
    found = DATA.findall(raw)
    if len(found) != 1:
        raise InputError(f"{path}: {MANY_DATA if found else NO_DATA}")
    try:
        return base64.b64decode(found[0], validate=True)
    except binascii.Error as error:
        raise InputError(f"{path}: its data cannot be read ({error})") from error


def _made_by(raw: bytes) -> str:
    found = MANIFEST.search(raw)
    try:
        version = str(json.loads(found[1])["sweeper"]) if found else ""
    except (ValueError, KeyError, TypeError, RecursionError):
        version = ""
    return version if VERSION.fullmatch(version) else "of unknown version"


# --- where two pages differ ----------------------------------------------------------------------


def differences(text: str, again: str) -> Iterator[Mismatch]:
    """Every difference between a page and the same page made again, in the page's order."""
    if text == again:
        return
    shown, (made, places) = PART.findall(text), _parted(again)
    start = _common(shown, made)
    end = _common(
        shown[: start - 1 if start else None : -1], made[: start - 1 if start else None : -1]
    )
    one, two = shown[start : len(shown) - end], made[start : len(made) - end]
    told = False
    for place, left, right in _aligned(one, two):
        at = places[min(start + place, len(places) - 1)]
        for found in _inside(at, left, right):
            told = True
            yield found
    if not told:
        yield Mismatch("the file", "something that is no part of a page", "nothing there")


def _common(one: Sequence[str], two: Sequence[str]) -> int:
    """How many parts are equal at the start of both."""
    for at, (left, right) in enumerate(zip(one, two, strict=False)):
        if left != right:
            return at
    return min(len(one), len(two))


def _aligned(one: list[str], two: list[str]) -> Iterator[tuple[int, str, str]]:
    """Place in `two`, and what differs there; "" where a page lacks it."""
    if len(one) == len(two) or max(len(one), len(two)) > MOST_ALIGNED:
        pairs = enumerate(zip_longest(one, two, fillvalue=""))
        yield from ((at, left, right) for at, (left, right) in pairs if left != right)
        return
    for kind, a, b, c, d in SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        if kind != "equal":
            for at, (left, right) in enumerate(zip_longest(one[a:b], two[c:d], fillvalue="")):
                yield c + at, left, right


@lru_cache(maxsize=1)
def _parted(again: str) -> tuple[list[str], list[str]]:
    """The parts of a page, and where each is."""
    parts = PART.findall(again)
    return parts, _places(parts)


def _places(parts: Sequence[str]) -> list[str]:
    """For each part of a page, the section that it is in, in words."""
    titles = {found[1]: found[2].strip() for found in HEADING.finditer("".join(parts))}
    places, here = [], "the top of the page"
    for part in parts:
        if found := SECTION.match(part):
            here = titles.get(found[1], found[1])
        elif part == "<footer>":
            here = "the end of the page"
        block = BLOCK.match(part)
        places.append(OWN.get(block[1] or "", CODE) if block else unescape(here))
    return places


def _inside(where: str, left: str, right: str) -> Iterator[Mismatch]:
    """What differs inside one part: for figures and manifest, entry by entry."""
    trees = _tree(left), _tree(right)
    if where in (OWN["figures"], OWN["manifest"]) and None not in trees:
        found = False
        for path, one, two in _entries(*trees):
            found = True
            yield Mismatch(_entry(where, path, trees[1]), _shown(one), _shown(two))
        if found:
            return
    at = _first(left, right)
    yield Mismatch(where, _around(left, at), _around(right, at))


def _tree(part: str) -> Any:
    inner = part[part.find(">") + 1 : part.rfind("</")]
    try:
        return json.loads(inner)
    except (ValueError, RecursionError):
        return None


def _entries(one: Any, two: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, Any, Any]]:
    """The leaves that differ, with where they are."""
    if isinstance(one, dict) and isinstance(two, dict):
        for key in dict.fromkeys([*one, *two]):
            yield from _entries(one.get(key), two.get(key), (*path, key))
    elif isinstance(one, list) and isinstance(two, list) and len(one) == len(two):
        for at, pair in enumerate(zip(one, two, strict=True)):
            yield from _entries(*pair, (*path, at))
    elif one != two or type(one) is not type(two):
        yield path, one, two


def _entry(where: str, path: tuple[Any, ...], tree: Any) -> str:
    """`Figure "Minority accuracy", data 1 y 3`."""
    rest = path
    if where == OWN["figures"] and path and isinstance(path[0], int):
        where, rest = f'figure "{tree[path[0]]["title"]}"', path[1:]
    return f"{where}, {' '.join(map(str, rest))}" if rest else where


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 4 * CONTEXT else text[: 4 * CONTEXT] + CUT


def _first(left: str, right: str) -> int:
    """The first character that differs."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(left), len(right)))


def _around(part: str, at: int) -> str:
    if not part:
        return "nothing"
    start, end = max(at - CONTEXT, 0), at + CONTEXT
    cut = (
        "\N{HORIZONTAL ELLIPSIS}" if start else "",
        "\N{HORIZONTAL ELLIPSIS}" * (end < len(part)),
    )
    return json.dumps(f"{cut[0]}{part[start:end]}{cut[1]}".strip(), ensure_ascii=False)
