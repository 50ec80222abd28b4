"""From an exception to the reason why an attempt ended."""

from __future__ import annotations

import traceback

from sweeper.states import Ending

LAST_CHARACTERS = 2000


def of_exception(error: BaseException) -> tuple[Ending, str]:
    """The reason and the text of an exception that the trainer raised, inside the worker."""
    text = "".join(traceback.format_exception(error))[-LAST_CHARACTERS:]
    name = type(error).__name__
    if name == "ConfigError":
        return Ending.BAD_CONFIG, str(error)
    if name == "OutOfMemoryError" or "CUDA out of memory" in str(error):
        return Ending.OUT_OF_MEMORY, text
    if isinstance(error, MemoryError):
        return Ending.HOST_OUT_OF_MEMORY, text
    return Ending.ERROR, text


def gist(text: str) -> str:
    """The line of an error that says most: the first, or what a traceback ends with."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    if not lines:
        return ""
    return lines[-1] if lines[0].startswith("Traceback") else lines[0]


# What Ray says when it has lost an actor, most telling first.
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
    """The reason and the text of an error by which Ray lost the worker."""
    tail = text[-LAST_CHARACTERS:]
    low = text.lower()
    for phrase, ending in _PHRASES:
        if phrase in low:
            return ending, tail
    return Ending.ERROR, tail
