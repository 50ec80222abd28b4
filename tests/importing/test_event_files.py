"""Event files of TensorBoard, written by tensorboardX, become sweeps."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
from foreign import Imports
from tensorboardX import SummaryWriter
from tensorboardX.proto.event_pb2 import Event  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.record_writer import RecordWriter

RUNS = [(lr, seed) for lr in (0.1, 0.2) for seed in (1, 2)]


def accuracy(lr: float, seed: int, step: int) -> float:
    return 0.4 + 0.1 * step + lr / 10 + 0.01 * seed


def scalars(folder: str, lr: float, seed: int, *, noted: bool = False) -> None:
    """Loss at every step, accuracy at every second one."""
    with SummaryWriter(folder, write_to_disk=True) as writer:
        for step in range(4):
            writer.add_scalar("train/loss", 1 / (1 + step), step)
            if step % 2:
                writer.add_scalar("val/acc", accuracy(lr, seed, step), step)
        if noted:
            settings = {"lr": lr, "seed": seed, "fast": True}
            writer.add_hparams(settings, {"val/acc": 0.0}, name="session")


def found(imports: Imports) -> dict[tuple[float, int], float]:
    rows = imports.rows(
        "SELECT c.factors, r.replicate, r.value FROM sweeper_run r "
        "JOIN sweeper_cell c ON c.id = r.cell_id"
    )
    return {(json.loads(factors)["lr"], replicate): value for factors, replicate, value in rows}


EXPECTED = {key: pytest.approx(accuracy(*key, 3), rel=1e-6) for key in RUNS}


def test_settings_come_from_the_names_of_folders(imports: Imports) -> None:
    """`lr=0.1,seed=1`; a row for each step of the objective, which is the accuracy."""
    for lr, seed in RUNS:
        scalars(f"logs/lr={lr},seed={seed}_2026-11-30_04-20-09", lr, seed)
    code, out, err = imports.run("import", "logs", "--yes")
    assert (code, out) == (0, "logs\n"), err
    assert found(imports) == EXPECTED
    epochs = imports.rows("SELECT epoch, count(*) FROM sweeper_observation GROUP BY epoch")
    assert epochs == [(1, 4), (3, 4)]


def test_settings_come_from_a_file_beside_the_events(imports: Imports) -> None:
    """`hparams.yaml`, as Lightning writes it."""
    for at, (lr, seed) in enumerate(RUNS):
        scalars(f"logs/version_{at}", lr, seed)
        Path(f"logs/version_{at}/hparams.yaml").write_text(f"lr: {lr}\nseed: {seed}\n")
    assert imports.run("import", "logs", "--yes")[0] == 0
    assert found(imports) == EXPECTED


def test_settings_come_from_the_page_of_hyperparameters(imports: Imports) -> None:
    """`add_hparams` writes a folder of its own inside the run's, with the final metrics again."""
    for at, (lr, seed) in enumerate(RUNS):
        scalars(f"logs/r{at}", lr, seed, noted=True)
    assert imports.run("import", "logs", "--yes")[0] == 0
    assert found(imports) == EXPECTED
    [(spec,)] = imports.rows("SELECT spec FROM sweeper_sweep")
    assert json.loads(spec)["fixed"]["fast"] is True


def test_another_tag_can_be_the_objective(imports: Imports) -> None:
    """--metric names it; a tag that nobody logged is refused with those that there are."""
    for lr, seed in RUNS:
        scalars(f"logs/lr={lr},seed={seed}", lr, seed)
    assert imports.run("import", "logs", "--metric", "train/loss", "--yes")[0] == 0
    assert set(found(imports).values()) == {0.25}
    code, _, err = imports.run("import", "logs", "--metric", "acc", "--yes")
    assert (code, err) == (
        2,
        "sweeper: logs: no run has logged 'acc'; there are: val/acc, train/loss\n",
    )


def test_scalars_of_tensorflow_and_folders_of_keras_are_read(imports: Imports) -> None:
    """Tensors in the place of numbers; `train` and `validation` folders with equal tags."""
    for lr in (0.1, 0.2):
        for part, shift in (("train", 0.3), ("validation", 0.0)):
            folder = Path(f"logs/lr={lr}/{part}")
            folder.mkdir(parents=True)
            writer = RecordWriter(str(folder / "events.out.tfevents.1.host.v2"))
            for step in range(3):
                event = Event(wall_time=100.0 + step, step=step)
                value = event.summary.value.add(tag="epoch_accuracy")
                value.metadata.plugin_data.plugin_name = "scalars"
                value.tensor.dtype = 1
                value.tensor.tensor_content = struct.pack("<f", 0.1 * step + lr + shift)
                writer.write(event.SerializeToString())
            writer.close()
    assert imports.run("import", "logs", "--yes")[0] == 0
    values = sorted(value for (value,) in imports.rows("SELECT value FROM sweeper_run"))
    assert values == pytest.approx([0.3, 0.4], rel=1e-6)
    assert imports.rows("SELECT DISTINCT seconds FROM sweeper_run") == [(2.0,)]


def test_half_of_a_last_event_is_left_out_and_damage_is_refused(imports: Imports) -> None:
    """A killed run leaves half an event; a file of other bytes is no event file."""
    for lr, seed in RUNS:
        scalars(f"logs/lr={lr},seed={seed}", lr, seed)
    files = list(Path("logs").rglob("*tfevents*"))
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole + whole[:20])
    assert imports.run("import", "logs", "--yes")[0] == 0
    files[-1].write_bytes(b"x" * 40)
    code, _, err = imports.run("import", "logs", "--name", "other", "--yes")
    assert code == 2
    assert err.endswith("is damaged, or no event file of TensorBoard's\n")
