"""Checks whether a cluster can be joined, before anything is created.

Ray's own client retries a refused call for minutes, prints raw lines meanwhile, and ends the whole
process if it has no token. So another process tries first, within a time limit.
"""

from __future__ import annotations

import json
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from sweeper.errors import ClusterAway, InputError

CONNECT_SECONDS = 5.0
JOIN_SECONDS = 30.0
LOCAL = "leave --ray-address out, and this launch starts its own Ray"
WANTED = f"name a cluster as HOST:PORT (the port of `ray start --head`) or auto, or {LOCAL}"
REFUSED = (
    "; if Ray runs there, it listens on another address, such as 127.0.0.1: "
    "`ray start --head --node-ip-address=ADDRESS` chooses it"
)
ANSWER = "sweeper joined: "
# Prints what Ray's client meets as the last line; no clean-up that could wait for a server.
TRIAL = f"""
import json, logging, os, sys, warnings
warnings.simplefilter("ignore")
import ray
try:
    ray.init(sys.argv[1], log_to_driver=False, logging_level=logging.CRITICAL)
    found = {{"kind": "", "text": ""}}
except BaseException as error:
    found = {{"kind": type(error).__name__, "text": str(error)}}
print({ANSWER!r} + json.dumps(found), flush=True)
os._exit(0)
"""
# What Ray's client raises where nobody answers, or a head that is not ready yet.
AWAY = frozenset({"ConnectionError", "RpcError", "TimeoutError"})
NO_TOKEN = ("InvalidAuthToken", "Unauthenticated")  # in the line that Ray's client repeats


def check_mode(environment: Mapping[str, str], *, allowed: bool) -> None:
    """Checks that Ray requires a token, as it does unless the environment disables it.

    Args:
        allowed: whether the user has agreed to a Ray without a token.

    Raises:
        InputError: it requires none and the user has not agreed, or the variable is invalid.
    """
    mode = environment.get("RAY_AUTH_MODE", "token")
    if mode == "token" or (mode == "disabled" and allowed):
        return
    if mode == "disabled":
        raise InputError(
            "RAY_AUTH_MODE=disabled: everyone who reaches Ray's ports could run programs here; "
            "unset it, or agree with --allow-unauthenticated-ray"
        )
    raise InputError(f"RAY_AUTH_MODE={mode!r}: unset it, or write token")


def check(address: str, environment: Mapping[str, str]) -> None:
    """Checks that the cluster at `address` accepts this process.

    Raises:
        InputError: the address is invalid, or the token is missing, unreadable or not the
            cluster's.
        ClusterAway: no server answers.
    """
    check_form(address)
    if address != "auto":
        _check_answers(address)
    if environment.get("RAY_AUTH_MODE", "token") == "token":
        token_file(environment)
    _try(address, environment)


def check_form(address: str) -> None:
    """Checks that a driver can join an address of this form.

    Raises:
        InputError: it cannot; the message names a form that works.
    """
    if not address.strip():
        raise InputError(f"--ray-address: empty; {WANTED}")
    if address == "local":
        raise InputError(f"--ray-address: 'local' would write a token to a file; {LOCAL}")
    if address.startswith("ray://"):
        raise InputError(
            f"--ray-address: {address!r} is for Ray's remote client, which cannot run a driver: "
            "run sweeper on a node of the cluster, or there by `ray job submit -- sweeper launch "
            "...` (docs/cluster.md)"
        )
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not re.fullmatch(r"[\w.-]+|\[[0-9a-fA-F:]+\]", host) or not re.fullmatch(r"\d{1,5}", port):
        raise InputError(f"--ray-address: {address!r} is not HOST:PORT; {WANTED}")
    if not 1024 <= int(port) <= 65535:
        raise InputError(f"--ray-address: {address!r}: the port must be 1024 to 65535")


def token_file(environment: Mapping[str, str]) -> Path | None:
    """The file from which Ray takes its token; None if a variable holds the token itself.

    Raises:
        InputError: there is no token, or its file cannot be read or is empty.
    """
    if environment.get("RAY_AUTH_TOKEN"):
        return None
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named or "~/.ray/auth_token").expanduser()
    ways = "the cluster's token belongs in a file that RAY_AUTH_TOKEN_PATH names (mode 600)"
    if not named and not path.exists():
        raise InputError(f"--ray-address: there is no token to join with: {ways}")
    source = f"RAY_AUTH_TOKEN_PATH={path}" if named else f"the token file {path}"
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise InputError(f"{source}: is not a file: {ways}")
        empty = not path.read_text("utf-8", errors="replace").strip()
    except OSError as error:
        raise InputError(f"{source}: cannot be read: {error.strerror}: {ways}") from error
    if empty:
        raise InputError(f"{source}: is empty: {ways}")
    return path


def exposed(environment: Mapping[str, str]) -> str:
    """A warning about a token file that others on this machine can read; empty if they cannot."""
    named = environment.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named or "~/.ray/auth_token").expanduser()
    if environment.get("RAY_AUTH_TOKEN") or not path.is_file() or not path.stat().st_mode & 0o077:
        return ""
    return f"the token file {path} can be read by others: chmod 600 {path}"


def _check_answers(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, UnicodeError) as error:
        hint = REFUSED if isinstance(error, ConnectionRefusedError) else ""
        raise ClusterAway(
            f"--ray-address: no server answers at {address!r} ({error}){hint}"
        ) from error


def _try(address: str, environment: Mapping[str, str]) -> None:
    """Tries to join the cluster in another process, and returns the result."""
    process = subprocess.Popen(  # noqa: S603  an address is an argument, not a command
        [sys.executable, "-P", "-c", TRIAL, address],
        env={"RAY_AUTH_MODE": "token", **environment, "RAY_BACKEND_LOG_LEVEL": "warning"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    limit = threading.Timer(JOIN_SECONDS, process.kill)
    limit.start()
    try:
        assert process.stdout is not None  # noqa: S101  a pipe was asked for
        found = next(filter(None, map(_result_in, process.stdout)), None)
    finally:
        limit.cancel()
        process.kill()
        process.communicate()
    judge(address, found)


def judge(address: str, found: Mapping[str, str] | None) -> None:
    """Judges the attempt by the kind and text of its error, both empty after a success.

    Raises:
        ClusterAway: nobody has answered, or `found` is None because it did not end in time.
        InputError: it failed otherwise.
    """
    if found is None:
        raise ClusterAway(
            f"--ray-address: {address!r} did not let this process in within {JOIN_SECONDS:g} s: "
            "is it the port of `ray start --head`, and is this machine a node of the cluster?"
        )
    if found["kind"]:
        kind = ClusterAway if found["kind"] in AWAY else InputError
        raise kind(f"--ray-address: {_reason(address, **found)}")


def _result_in(line: str) -> dict[str, str] | None:
    """The result of the attempt to join in a line of the other process, if the line has one."""
    if any(word in line for word in NO_TOKEN):
        return {"kind": "AuthenticationError", "text": ""}
    before, answer, rest = line.partition(ANSWER)
    return json.loads(rest) if answer and not before else None


def _reason(address: str, *, kind: str, text: str) -> str:
    if kind == "AuthenticationError":
        return (
            f"{address!r} refuses the token of this process: set RAY_AUTH_TOKEN_PATH to a file "
            "with the token that the cluster was started with"
        )
    if address == "auto" and kind == "ConnectionError":
        return f"'auto' finds no Ray on this machine: start one with `ray start`, or {LOCAL}"
    return f"{address!r} cannot be joined: {' '.join(text.split()) or kind}"
