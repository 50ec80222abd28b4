"""What must not leave the machine: paths, user names, database addresses, secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN_KEYS = frozenset({
    "host", "hostname", "node", "user", "username", "login", "cwd", "path", "paths", "argv",
    "command", "url", "storage", "executable", "pid", "env", "environ", "environment", "home",
    "token", "password", "secret", "prefix", "address", "ip",
})  # fmt: skip
URL = re.compile(r"\b[a-z][a-z0-9+.\-]*://[^\s'\"<>]+", re.IGNORECASE)
PATH = re.compile(
    r"(?<![\w<.:/\\])(?:~?/|[A-Za-z]:[\\/]|\\\\)(?:[^\s'\"<>:|*?\\/]+[\\/])+([^\s'\"<>:|*?\\/,;)\]]*)"
)
ROOT = re.compile(r"(?<![\w<.:/\\])(?:~(?![\w/])|/(?:root|home|tmp|mnt|data|srv|opt|Users)\b)/?")
SPEC_PATH = re.compile(  # a quoted value may hold anything, a plain one ends at a comment or comma
    r"(?P<key>[\w.\"']*(?:path|labels)[\"']?[ \t]*[:=]\s*(?:[|>][-+]?\s*\n\s*)?)"
    r"(?:\"(?P<double>(?:[^\"\\]|\\.)*)\"|'(?P<single>(?:[^']|'')*)'"
    r"|(?P<plain>(?![\w.]+:\s)[^\s\"',}#](?:[^\n,}#]|(?<=\S)#)*))"
)
GONE = "\N{HORIZONTAL ELLIPSIS}"


def scrub(text: str) -> str:
    """`text` without addresses and with only the last part of each path."""
    text = URL.sub("[address]", text)
    text = PATH.sub(lambda found: f"{GONE}/{found[1]}", text)
    return ROOT.sub(GONE, text)


def scrub_spec(text: str) -> str:
    """A spec's text with the value of each `path:` and `labels:` cut to its last part."""
    return scrub(SPEC_PATH.sub(_cut, text))


def _cut(found: re.Match[str]) -> str:
    for kind, quote in (("double", '"'), ("single", "'")):
        if found[kind] is not None:
            return f"{found['key']}{quote}{last_part(found[kind])}{quote}"
    value = found["plain"].rstrip()
    return f"{found['key']}{last_part(value)}{found['plain'][len(value) :]}"


def last_part(value: str) -> str:
    """A path with what comes before its last part cut."""
    if value in ("null", "~"):
        return value
    parts = re.split(r"[\\/]", value)
    return value if len(parts) == 1 else f"{GONE}/{parts[-1]}"


def scrub_tree(tree: Mapping[str, Any]) -> dict[str, str]:
    """Provenance as key -> text, without the keys that name a machine or a person."""
    kept = {str(key): value for key, value in tree.items() if str(key).lower() not in HIDDEN_KEYS}
    found = {scrub(key.replace("_", " ")): _shown(value) for key, value in kept.items()}
    return {key: text for key, text in found.items() if text}


def scrub_kept(tree: Any) -> Any:
    """The same tree without the keys that name a machine or a person, and with texts scrubbed."""
    if isinstance(tree, Mapping):
        kept = {key: value for key, value in tree.items() if str(key).lower() not in HIDDEN_KEYS}
        return {scrub(str(key)): scrub_kept(value) for key, value in kept.items()}
    if isinstance(tree, list | tuple):
        return [scrub_kept(one) for one in tree]
    return scrub(tree) if isinstance(tree, str) else tree


def _shown(value: Any) -> str:
    """One line: `numpy 2.4.6, optuna 5.0.0`."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {text}" for key, text in scrub_tree(value).items())
    if isinstance(value, list | tuple):
        return ", ".join(_shown(one) for one in value)
    return "" if value is None else scrub(str(value))
