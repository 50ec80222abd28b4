"""Finds the reason why an attempt ended, from an exception."""

from __future__ import annotations

import traceback

from sweeper.states import Ending

LAST_CHARACTERS = 2000


def of_exception(error: BaseException) -> tuple[Ending, str]:
    """The reason and the text of an exception that the trainer raised in the worker."""
    text = "".join(traceback.format_exception(error))[-LAST_CHARACTERS:]
    name = type(error).__name__
    if name in ("ConfigError", "ReportError"):
        return Ending.BAD_CONFIG, str(error)
    if name == "OutOfMemoryError" or "CUDA out of memory" in str(error):
        return Ending.OUT_OF_MEMORY, text
    if isinstance(error, MemoryError):
        return Ending.HOST_OUT_OF_MEMORY, text
    return Ending.ERROR, text


def gist(text: str) -> str:
    """The most useful line of an error: the first, or the last of a traceback."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


# Parts of Ray's messages about a lost actor, most specific first.
_PHRASES = (
    ("due to the node running low on memory", Ending.HOST_OUT_OF_MEMORY),
    ("memory pressure", Ending.HOST_OUT_OF_MEMORY),
    ("preempted", Ending.PREEMPTED),
    ("node has died", Ending.NODE_LOST),
    ("node is dead", Ending.NODE_LOST),
    ("node was terminated", Ending.NODE_LOST),
    ("node died", Ending.NODE_LOST),
    ("actor died", Ending.CRASHED),
    ("actor is dead", Ending.CRASHED),
    ("actor is temporarily unavailable", Ending.CRASHED),
    ("actor was killed", Ending.CRASHED),
    ("worker crashed", Ending.CRASHED),
    ("worker died", Ending.CRASHED),
)


def of_ray(text: str) -> tuple[Ending, str]:
    """The reason and the text of the error with which Ray lost the worker."""
    tail = text[-LAST_CHARACTERS:]
    low = text.lower()
    for phrase, ending in _PHRASES:
        if phrase in low:
            return ending, tail
    return Ending.ERROR, tail
