"""Timings of packs in the cache folder of the machine that measured them.

A later launch on this machine with the same kind of runs need not wait for them again. Another
processor, trainer, PyTorch, plug-in or data set makes another timing. Those of a busy hour are
forgotten too: none is used for longer than `DAYS`.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sweeper.engine import nodes
from sweeper.engine.messages import ProbeJob, Timing
from trainers.cache import TIMINGS, root, write

DAYS = 7


def kept(job: ProbeJob, measure: Callable[[], Timing], **conditions: Any) -> Timing:
    """The timing of a job, from the cache if it is there, or else measured now and kept.

    Args:
        conditions: what else decides how long packs take here, as JSON.
    """
    path = _path(job, conditions)
    found = _read(path)
    if found is not None:
        return found
    made = measure()
    write(path, json.dumps({"at": time.time(), "timing": asdict(made)}).encode())
    return made


def _path(job: ProbeJob, conditions: dict[str, Any]) -> Path:
    plugins = [hashlib.sha256(Path(file).read_bytes()).hexdigest() for file in job.plugins]
    asked = {"key": job.key, "ks": job.ks, "device": job.device, "plugins": plugins}
    text = json.dumps({**asked, **conditions, "node": nodes.facts()}, sort_keys=True)
    return root() / TIMINGS / f"{hashlib.sha256(text.encode()).hexdigest()}.json"


def _read(path: Path) -> Timing | None:
    """A timing that is not too old; None if the file is missing or damaged."""
    try:
        saved = json.loads(path.read_bytes())
        if not 0 <= time.time() - saved["at"] < DAYS * 86400:
            return None
        timing = Timing(**saved["timing"])
        return replace(
            timing,
            seconds_per_step={int(k): float(s) for k, s in timing.seconds_per_step.items()},
            memory={int(k): int(peak) for k, peak in timing.memory.items()},
            findings=tuple(timing.findings),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
