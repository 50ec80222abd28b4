"""Passwords and tokens, hidden in whatever is printed or logged."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

HIDDEN = "***"
# Variables that hold nothing but a secret.
SECRETS = (
    "SWEEPER_TOKEN",
    "SWEEPER_NOTIFY",
    "PGPASSWORD",
    "RAY_AUTH_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
)
SHORTEST = 6  # characters; a shorter value would be found inside of ordinary words

_USER = re.compile(r"(?<=://)([^\s/@:'\"]*):([^\s/@'\"]+)@")
# An address that gets messages: all but its scheme and host may be secret.
_NOTIFY = re.compile(r"(--notify(?:=|\s+)['\"]?)(https?://[^\s/'\"@]+(?=/)|[\w+.-]+://)[^\s'\"]*")
_QUERY = re.compile(r"(\w*password\w*=)([^\s&;'\"]+)", re.IGNORECASE)


def masked(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Returns `text` with *** for each password of a URL and each secret of the environment."""
    for name in SECRETS:
        value = environment.get(name, "")
        if len(value) >= SHORTEST:
            text = text.replace(value, HIDDEN)
    text = _NOTIFY.sub(rf"\1\2{HIDDEN}", text)
    text = _USER.sub(rf"\1:{HIDDEN}@", text)
    return _QUERY.sub(rf"\1{HIDDEN}", text)
