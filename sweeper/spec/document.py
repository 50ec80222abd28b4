"""A YAML file as values that remember their lines; whatever a spec has no use for is refused.

Scalars follow YAML 1.2's core schema, so `1e-3` is a number and `on`, `no`, `010` as octal, `1_000`
and dates are not what YAML 1.1 made of them. Nodes are built from the parser's *events*, one by
one: depth, size, tags, anchors and equal keys are checked before anything recurses or expands.
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
MAX_INT = 2**53  # beyond it JSON readers round
MAX_NODES = 20_000  # aliases count expanded

Scalar: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True)
class Node:
    """One value of a document; `where` is `FILE:LINE` of its key, or the override it came from."""

    value: Scalar | tuple[Node, ...] | Mapping[str, Node]
    where: str

    @property
    def plain(self) -> Any:
        """The value as dictionaries, lists and scalars."""
        if isinstance(self.value, tuple):
            return [node.plain for node in self.value]
        if isinstance(self.value, Mapping):
            return {key: node.plain for key, node in self.value.items()}
        return self.value

    @property
    def entries(self) -> Mapping[str, Node]:
        """The keys of a mapping; nothing for other nodes."""
        return self.value if isinstance(self.value, Mapping) else {}


def shown(value: object) -> str:
    """A value for a message: on one line, short, and without characters that could deceive."""
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


def error(where: str, key: str, reason: str, *value: object) -> SpecError:
    """`WHERE: key: value: reason` on one line; key and value are left out when not given."""
    parts = [_line(where), *([_line(key)] if key else []), *map(shown, value), reason]
    return SpecError(": ".join(parts))


def _line(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def read(path: str | os.PathLike[str]) -> str:
    """The text of a spec file.

    Raises:
        SpecError: it is missing, not a regular file, unreadable, over `MAX_BYTES`, or not UTF-8.
    """
    name = os.fspath(path)
    try:
        with open(name, "rb", opener=_opener) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise error(name, "", "is a pipe or a device, a spec is a regular file")
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else str(cause)
        raise error(name, "", f"cannot be read: {(reason or 'unknown reason').lower()}") from cause
    return _decode(name, data)


def _opener(name: str, flags: int) -> int:
    # O_NONBLOCK: opening a pipe that nobody writes to would otherwise wait for ever.
    return os.open(name, flags | os.O_NONBLOCK)


def _decode(name: str, data: bytes) -> str:
    if len(data) > MAX_BYTES:
        raise error(name, "", f"is larger than {MAX_BYTES:,} bytes, that is no spec")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise error(name, "", "is UTF-16, save it as UTF-8")
    if b"\0" in data:
        raise error(name, "", "is a binary file, a spec is YAML text")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as cause:
        line = data[: cause.start].count(b"\n") + 1
        raise error(f"{name}:{line}", "", "is not UTF-8 text") from cause


def compose(text: str, name: str, *, lines: bool = True, key: str = "") -> Node:
    """The one value of a YAML text, null when it is empty.

    Args:
        text: the document.
        name: of the file, or of what stands for one, in `where`.
        lines: whether `where` has the line too.
        key: what the value belongs to, for messages.

    Raises:
        SpecError: not YAML, several documents, a tag, a cycle, too deep or too large.
    """
    if "\0" in text:
        raise error(name, "", "is a binary file, a spec is YAML text")
    composer = _Composer(name=name, lines=lines, path=[key] if key else [])
    try:
        return composer.document(_events(text))
    except YAMLError as cause:
        mark = getattr(cause, "problem_mark", None)
        problem = getattr(cause, "problem", None) or str(cause).splitlines()[0]
        where = composer.where(mark.line) if mark else name
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
    """Nodes from events; every limit is checked as the event comes in."""

    name: str
    lines: bool
    path: list[str] = field(default_factory=list[str])
    nodes: int = 0
    anchors: dict[str, Node] = field(default_factory=dict[str, Node])
    open_anchors: set[str] = field(default_factory=set[str])

    def where(self, line: int) -> str:
        return f"{self.name}:{line + 1}" if self.lines else self.name

    def wrong(self, where: str, reason: str, *value: object) -> SpecError:
        """An error at the key that is being read."""
        return error(where, ".".join(self.path), reason, *value)

    def document(self, events: Iterator[Any]) -> Node:
        root: Node | None = None
        for event in events:
            is_start = _is(event, DocumentStartEvent)
            if is_start and root is not None:
                where = self.where(event.start_mark.line)
                raise error(where, "", "a second document, a spec is one")
            if is_start:
                self._check_version(event)
                root = self.node(next(events), events, depth=0)
        return Node(None, self.where(0)) if root is None else root

    def _check_version(self, event: Any) -> None:
        if event.version not in (None, (1, 2)):
            raise error(self.where(event.start_mark.line), "", "%YAML: only version 1.2 is read")

    def node(self, event: Any, events: Iterator[Any], *, depth: int) -> Node:
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
        node = Node(self._value(event, events, depth, where), where)
        self.open_anchors -= with_anchor
        self.anchors.update(dict.fromkeys(with_anchor, node))
        return node

    def _value(self, event: Any, events: Iterator[Any], depth: int, where: str) -> Any:
        if isinstance(event, SequenceStartEvent):
            return tuple(self._items(events, depth + 1))
        if isinstance(event, MappingStartEvent):
            return self._mapping(events, depth + 1)
        try:
            return _scalar(event)
        except ValueError as cause:
            raise self.wrong(where, str(cause), event.value) from cause

    def _items(self, events: Iterator[Any], depth: int) -> Iterator[Node]:
        for event in events:
            if isinstance(event, SequenceEndEvent):
                return
            yield self.node(event, events, depth=depth)

    def _mapping(self, events: Iterator[Any], depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        for event in events:
            if isinstance(event, MappingEndEvent):
                break
            where = self.where(event.start_mark.line)
            key = self._key(event, where)
            self.path.append(key)
            if key in entries:
                raise self.wrong(where, f"the key is given twice, first at {entries[key].where}")
            # A value is found by its key's line, also where it begins on a later one.
            entries[key] = Node(self.node(next(events), events, depth=depth).value, where)
            self.path.pop()
        return entries

    def _key(self, event: Any, where: str) -> str:
        if not _is(event, ScalarEvent):
            raise self.wrong(where, "a key must be a word")
        if event.tag is not None:
            raise self.wrong(where, _tagged(event))
        try:
            return _clean(event.value)
        except ValueError as cause:
            raise self.wrong(where, str(cause), event.value) from cause

    def _alias(self, event: Any, where: str) -> Node:
        if event.anchor in self.open_anchors:
            raise error(where, "", f"the anchor {shown(event.anchor)} contains itself")
        if event.anchor not in self.anchors:
            raise error(where, "", f"no anchor {shown(event.anchor)} before this line")
        node = self.anchors[event.anchor]
        self._count(_size(node), where)
        return Node(node.value, where)

    def _count(self, nodes: int, where: str) -> None:
        self.nodes += nodes
        if self.nodes > MAX_NODES:
            raise error(where, "", f"more than {MAX_NODES:,} values, aliases expanded")


def _size(node: Node) -> int:
    children = node.value if isinstance(node.value, tuple) else node.entries.values()
    return 1 + sum(map(_size, children))


def _tagged(event: Any) -> str:
    tag = str(event.tag).replace("tag:yaml.org,2002:", "!!")
    return f"the tag {shown(tag)}: tags are not allowed"


def _clean(text: str) -> str:
    """Escapes can write what no database column takes: NUL, controls, half a character."""
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
    if event.style:  # quoted, literal or folded: text, whatever it looks like
        return _clean(text)
    if text in _WORDS:
        return _WORDS[text]
    if _INT.fullmatch(text):
        return _whole(text)
    return float(text) if _FLOAT.fullmatch(text) else _clean(text)


def _whole(text: str) -> int:
    # The length first: Python takes quadratic time over digits, and refuses 4,301 of them.
    number = int(text, 10 if text.lstrip("-+").isdecimal() else 0) if len(text) < 30 else MAX_INT
    if abs(number) >= MAX_INT:
        raise ValueError("no whole number here needs so many digits")
    return number


def put(root: Node, keys: Sequence[str], new: Node, *, missing: Callable[[str], Any]) -> Node:
    """`root` with the value at `keys` replaced; blocks on the way are made where there are none.

    Raises whatever `missing` returns, given the key on the way that holds no block.
    """
    if not keys:
        return new
    if not isinstance(root.value, Mapping):
        raise missing(keys[0])
    old = root.value.get(keys[0], Node({}, new.where))
    return Node({**root.value, keys[0]: put(old, keys[1:], new, missing=missing)}, root.where)
