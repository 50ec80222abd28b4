"""Ray ends before its driver: noticed, recorded, and the next launch goes on."""

from __future__ import annotations

import signal
from collections.abc import Callable

import acting
import history
import psutil
import pytest
from patience import eventually
from places import Place, ended, rounds_recorded

SPEC = """
name: rayless
data: {dataset: digits}
train: {epochs: 5, evaluations: 5, batch_size: 32}
scientific:
  train.lr: [0.01, 0.1]
replicates: 2
resources: {workers: 1, pack: 2}
"""


def everything(place: Place) -> None:
    """What a service manager sends when it stops a service: SIGTERM to each of its processes."""
    for process in place.ours():
        signal_one(process, signal.SIGTERM)


def head(place: Place) -> None:
    """What the kernel sends when it has no memory left."""
    [gcs] = [one for one in place.ours() if one.name() == "gcs_server"]
    signal_one(gcs, signal.SIGKILL)


def signal_one(process: psutil.Process, number: int) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return  # it has followed one that was signalled before


@pytest.mark.parametrize(
    ("strike", "code", "why"),
    [
        pytest.param(
            everything, 130, "stopped by a signal", id="every process", marks=pytest.mark.soak
        ),
        pytest.param(head, 1, "Ray has ended by itself (gcs_server)", id="17 the head"),
    ],
)
def test_a_driver_does_not_wait_for_a_ray_that_is_gone(
    place: Place, strike: Callable[[Place], None], code: int, why: str
) -> None:
    """What is known is recorded, nothing stays open, the command is printed; numbers are equal."""
    place.write_spec(SPEC)
    plugin = acting.write(place.folder)
    hold = acting.Hold(place.folder, rounds=2)
    process = place.start("--plugin", str(plugin), "--plugin", str(hold.plugin))
    eventually(lambda: rounds_recorded(place) >= 2, "no round recorded", process=process)
    strike(place)
    status, output = ended(process)  # Ray by itself records nothing
    said = " ".join(output.split())
    assert status == code, output
    assert f"interrupted: {why}" in said
    assert "Continue with: sweeper launch" in said
    history.check_nobody_runs(place.storage, "rayless")
    place.assert_no_process_left()  # what is left of such a Ray looks for its head for 60 s
    status, output = place.run("--plugin", str(plugin))
    assert status == 0, output
    history.check(place.storage, "rayless", rounds=5)
    acting.check_numbers(place.storage, "rayless", runs=4)
