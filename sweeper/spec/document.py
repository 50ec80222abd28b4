"""Reads a YAML file into values that remember their lines, and rejects what a spec never needs.

Scalars follow YAML 1.2's core schema: `1e-3` is a number, and `on`, `no`, `010`, `1_000` and dates
do not get their meanings of YAML 1.1. Nodes are built from the parser's *events*, one by one, so
depth, size, tags, anchors and equal keys are checked before anything recurses or expands.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from sweeper.errors import SpecError

MAX_BYTES = 1_000_000
MAX_DEPTH = 20
MAX_INT = 2**53  # JSON readers round larger numbers
MAX_NODES = 20_000  # aliases count as what they expand to

Scalar: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True)
class Position:
    """Where a value is from: a file and a line, or, with line 0, a file or an override."""

    name: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.name}:{self.line}" if self.line else self.name


@dataclass(frozen=True)
class YamlNode:
    """A value of a document; `where` is the position of its key, or the override that set it."""

    value: Scalar | tuple[YamlNode, ...] | Mapping[str, YamlNode]
    where: Position

    @property
    def plain(self) -> Any:
        """The value as dictionaries, lists and scalars."""
        if isinstance(self.value, tuple):
            return [node.plain for node in self.value]
        if isinstance(self.value, Mapping):
            return {key: node.plain for key, node in self.value.items()}
        return self.value

    @property
    def entries(self) -> Mapping[str, YamlNode]:
        """The keys of a mapping; an empty mapping for other nodes."""
        return self.value if isinstance(self.value, Mapping) else {}


def shown(value: object) -> str:
    """Formats a value for a message: one line, short, without unprintable characters."""
    if isinstance(value, str) and value.isascii() and value.isprintable() and len(value) < 60:
        return repr(value)
    text = value if isinstance(value, str) else _words(value)
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    text = text if len(text) < 80 else f"{text[:60]}... ({len(text)} characters)"
    return f"'{text}'" if isinstance(value, str) else text


def _words(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value)


def error(where: Position, key: str, reason: str, *value: object) -> SpecError:
    """Makes the error `WHERE: key: value: reason`; without key or value if they are not given."""
    parts = [_printable(str(where)), *([_printable(key)] if key else []), *map(shown, value)]
    return SpecError(": ".join([*parts, reason]), line=where.line)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read(path: str | os.PathLike[str]) -> str:
    """Reads the text of a spec file.

    Raises:
        SpecError: it is missing, not a regular file, unreadable, over `MAX_BYTES`, or not UTF-8.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb", opener=_opener) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                reason = "is a pipe or a device, a spec is a regular file"
                raise error(Position(name), "", reason)
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as cause:
        reason = (cause.strerror if isinstance(cause, OSError) else str(cause)) or "unknown reason"
        raise error(Position(name), "", f"cannot be read: {reason.lower()}") from cause
    return _decode(name, data)


def _opener(name: str, flags: int) -> int:
    # O_NONBLOCK: without it, opening a pipe without a writer would never return.
    return os.open(name, flags | os.O_NONBLOCK)


def _decode(name: str, data: bytes) -> str:
    where = Position(name)
    if len(data) > MAX_BYTES:
        raise error(where, "", f"is larger than {MAX_BYTES:,} bytes, that is not a spec")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise error(where, "", "is UTF-16, save it as UTF-8")
    if b"\0" in data:
        raise error(where, "", "is a binary file, a spec is YAML text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = data[: cause.start].count(b"\n") + 1
        raise error(Position(name, line), "", "is not UTF-8 text") from cause


def compose(text: str, name: str, *, lines: bool = True, key: str = "") -> YamlNode:
    """Reads the value of a YAML text; null if it is empty.

    Args:
        text: the document.
        name: the file's name, or its replacement, in positions.
        lines: whether positions have the line too.
        key: the key of the value, for messages.

    Raises:
        SpecError: not YAML, several documents, a tag, a cycle, too deep or too large.
    """
    if "\0" in text:
        raise error(Position(name), "", "is a binary file, a spec is YAML text")
    composer = _Composer(name=name, lines=lines, path=[key] if key else [])
    try:
        return composer.document(_events(text))
    except YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        problem = getattr(cause, "problem", None) or str(cause).splitlines()[0]
        where = composer.where(mark.line) if mark else Position(name)
        raise error(where, "", f"not YAML: {_hint(problem)}") from cause


def _is(event: Any, kind: type) -> bool:
    # ruamel's events carry no types: narrowing by isinstance would turn Any into unknown.
    return isinstance(event, kind)


def _events(text: str) -> Iterator[Any]:
    parser: Any = YAML(typ="safe", pure=True)
    return parser.parse(text)


def _hint(problem: str) -> str:
    if "'\\t'" in problem or "tab" in problem:
        return "a tab; indent with spaces"
    return problem


@dataclass
class _Composer:
    """Builds nodes from events, and checks every limit as an event arrives."""

    name: str
    lines: bool
    path: list[str] = field(default_factory=list[str])
    nodes: int = 0
    anchors: dict[str, YamlNode] = field(default_factory=dict[str, YamlNode])
    open_anchors: set[str] = field(default_factory=set[str])

    def where(self, line: int) -> Position:
        return Position(self.name, line + 1 if self.lines else 0)

    def wrong(self, where: Position, reason: str, *value: object) -> SpecError:
        """Makes an error at the current key."""
        return error(where, ".".join(self.path), reason, *value)

    def document(self, events: Iterator[Any]) -> YamlNode:
        root: YamlNode | None = None
        for event in events:
            is_start = _is(event, DocumentStartEvent)
            if is_start and root is not None:
                where = self.where(event.start_mark.line)
                raise error(where, "", "a second document, a spec is one")
            if is_start:
                self._check_version(event)
                root = self.node(next(events), events, depth=0)
        return YamlNode(None, self.where(0)) if root is None else root

    def _check_version(self, event: Any) -> None:
        if event.version not in (None, (1, 2)):
            raise error(self.where(event.start_mark.line), "", "%YAML: only version 1.2 is read")

    def node(self, event: Any, events: Iterator[Any], *, depth: int) -> YamlNode:
        where = self.where(event.start_mark.line)
        if isinstance(event, AliasEvent):
            return self._alias(event, where)
        if event.tag is not None:
            raise self.wrong(where, _tagged(event))
        if depth > MAX_DEPTH:
            raise error(where, "", f"nested deeper than {MAX_DEPTH} levels")
        self._count(1, where)
        with_anchor = {event.anchor} - {None}
        self.open_anchors |= with_anchor
        node = YamlNode(self._value(event, events, depth, where), where)
        self.open_anchors -= with_anchor
        self.anchors.update(dict.fromkeys(with_anchor, node))
        return node

    def _value(self, event: Any, events: Iterator[Any], depth: int, where: Position) -> Any:
        if isinstance(event, SequenceStartEvent):
            return tuple(self._items(events, depth + 1))
        if isinstance(event, MappingStartEvent):
            return self._mapping(events, depth + 1)
        try:
            return _scalar(event)
        except ValueError as cause:
            raise self.wrong(where, str(cause), event.value) from cause

    def _items(self, events: Iterator[Any], depth: int) -> Iterator[YamlNode]:
        for event in events:
            if isinstance(event, SequenceEndEvent):
                return
            yield self.node(event, events, depth=depth)

    def _mapping(self, events: Iterator[Any], depth: int) -> dict[str, YamlNode]:
        entries: dict[str, YamlNode] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            where = self.where(event.start_mark.line)
            key = self._key(event, where)
            self.path.append(key)
            if key in entries:
                raise self.wrong(where, f"the key is given twice, first at {entries[key].where}")
            # A value has the line of its key, even if it begins on a later line.
            entries[key] = YamlNode(self.node(next(events), events, depth=depth).value, where)
            self.path.pop()
        return entries

    def _key(self, event: Any, where: Position) -> str:
        if not _is(event, ScalarEvent):
            raise self.wrong(where, "a key must be a word")
        if event.tag is not None:
            raise self.wrong(where, _tagged(event))
        try:
            return _clean(event.value)
        except ValueError as cause:
            raise self.wrong(where, str(cause), event.value) from cause

    def _alias(self, event: Any, where: Position) -> YamlNode:
        if event.anchor in self.open_anchors:
            raise error(where, "", f"the anchor {shown(event.anchor)} contains itself")
        if event.anchor not in self.anchors:
            raise error(where, "", f"no anchor {shown(event.anchor)} before this line")
        node = self.anchors[event.anchor]
        self._count(_size(node), where)
        return YamlNode(node.value, where)

    def _count(self, nodes: int, where: Position) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise error(where, "", f"more than {MAX_NODES:,} values, aliases expanded")


def _size(node: YamlNode) -> int:
    children = node.value if isinstance(node.value, tuple) else node.entries.values()
    return 1 + sum(map(_size, children))


def _tagged(event: Any) -> str:
    tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
    return f"the tag {shown(tag)}: tags are not allowed"


def _clean(text: str) -> str:
    """Rejects escapes that no database column can store: NUL, controls, lone surrogates."""
    for character in text:
        if (ord(character) < 32 and character not in "\n\t") or 0xD800 <= ord(character) < 0xE000:
            raise ValueError("a control character is not allowed in text")
    return text


_INT = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_WORDS: dict[str, Scalar] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), float("nan")),
    **{
        f"{sign}{inf}": float(f"{sign}inf")
        for sign in ("", "+", "-")
        for inf in (".inf", ".Inf", ".INF")
    },
}


def _scalar(event: Any) -> Scalar:
    text: str = event.value
    if event.style:  # quoted, literal or folded scalars are always text
        return _clean(text)
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return _whole(text)
    return float(text) if _FLOAT.fullmatch(text) else _clean(text)


def _whole(text: str) -> int:
    # The length first, because Python's time is quadratic in digits, and it rejects 4,301 of them.
    number = int(text, 10 if text.lstrip("-+").isdecimal() else 0) if len(text) < 30 else MAX_INT
    if abs(number) >= MAX_INT:
        raise ValueError(f"a whole number must be below {MAX_INT:,}")
    return number


def put(
    root: YamlNode, keys: Sequence[str], new: YamlNode, *, missing: Callable[[str], Any]
) -> YamlNode:
    """Returns `root` with the value at `keys` replaced; missing blocks on the way are made.

    Raises what `missing` returns for a key on the way that is not a block.
    """
    if not keys:
        return new
    if not isinstance(root.value, Mapping):
        raise missing(keys[0])
    old = root.value.get(keys[0], YamlNode({}, new.where))
    return YamlNode({**root.value, keys[0]: put(old, keys[1:], new, missing=missing)}, root.where)
