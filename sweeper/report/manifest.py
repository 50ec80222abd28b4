"""Where the numbers of a page come from: as JSON for programs, and in words for readers."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sweeper import __version__
from sweeper.analysis.frames import Frames
from sweeper.drawing.redact import scrub, scrub_tree

FORMAT = 1
HARDWARE = ("system", "processor", "cores", "hardware")  # of provenance


def manifest(frames: Frames, block: bytes) -> dict[str, Any]:
    """What a program needs to judge the page, or to make its sweep again."""
    sweep = frames.sweep
    made = dict(sweep.provenance)
    commit = str(made.get("git", ""))
    return {
        "manifest": FORMAT,
        "sweeper": __version__,
        "data": {"sha256": hashlib.sha256(block).hexdigest(), "bytes": len(block)},
        "sweep": sweep.name,
        "spec": sweep.spec,
        "trained_with": {
            "sweeper": made.get("sweeper"),
            "python": made.get("python"),
            "packages": made.get("packages", made.get("versions", {})),
            "git": {"commit": commit.removesuffix("+"), "changed": commit.endswith("+")},
            "lock": made.get("lock", []),
            "hardware": {key: made[key] for key in HARDWARE if key in made},
            "workers": made.get("workers", []),
            "devices": devices(frames),
            "determinism": made.get("determinism", {}),
        },
        "data_fingerprint": sweep.facts.get("fingerprint", ""),
    }


def devices(frames: Frames) -> list[str]:
    return sorted({str(one) for one in frames.attempts["device"] if one})


def provenance(frames: Frames, data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same in words: no machine, path or person. `data`: of the manifest."""
    sweep, facts = frames.sweep, frames.sweep.facts
    listed = [
        ("sweep", sweep.name),
        ("state", f"{sweep.state} {scrub(sweep.state_reason)}".strip()),
        ("created", _when(sweep.created_at)),
        ("last change", _when(sweep.updated_at)),
        *scrub_tree(_brief(sweep.provenance)).items(),
        ("data fingerprint", str(facts.get("fingerprint", ""))),
        ("classes", ", ".join(str(one) for one in facts.get("classes", ()))),
        *[
            (f"samples per class, {split}", ", ".join(map(str, seen)))
            for split, seen in facts.get("counts", {}).items()
        ],
        ("devices", ", ".join(devices(frames))),
        ("attempts", str(len(frames.attempts))),
        ("page made by", f"Sweeper {__version__}"),
        ("data inside the page", f"{data['bytes'] / 1000:.0f} kB, sha256 {data['sha256']}"),
    ]
    return [(label, value) for label, value in listed if value]


def _brief(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The provenance in short: of an import its source, of the environment its size and hash."""
    brief = {key: value for key, value in provenance.items() if key != "seconds_alone"}
    if read := brief.get("imported"):
        brief["imported"] = {key: read[key] for key in ("from", "file", "sha256") if key in read}
    if lock := brief.get("lock"):
        digest = hashlib.sha256("\n".join(lock).encode()).hexdigest()[:12]
        brief["lock"] = f"{len(lock)} packages (sha256 {digest}), listed in the manifest"
    if workers := brief.get("workers"):
        brief["workers"] = "; ".join(workers)
    return brief


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
