"""Data sets of any size: files that processes share, and samples that are fetched ahead."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_packs import config, numbers_of, pack, parameters_of, same
from torch import Tensor

from trainers import cache
from trainers.data import load, npz, rows, stored
from trainers.data.dataset import Dataset
from trainers.data_config import DataConfig
from trainers.metrics import Counted, measure
from trainers.sources import Fetched, Resident

SAMPLES, SIDE = 90, 8


@pytest.fixture
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty cache."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def all_large(monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> Path:
    """Every data set counts as large, and is read in parts of seven samples; the cache."""
    for module in (rows, stored, npz):
        monkeypatch.setattr(module, "FROM_BYTES", 1)
    monkeypatch.setattr(rows, "PART_SAMPLES", 7)
    return own_cache


def images_file(folder: Path) -> DataConfig:
    source = np.random.default_rng(1)
    labels = np.arange(SAMPLES) % 3
    images = source.integers(0, 90, (SAMPLES, SIDE, SIDE, 3)) + 50 * labels[:, None, None, None]
    np.savez(folder / "noise.npz", images=images.astype(np.uint8), labels=labels)
    return DataConfig(dataset="npz", path=str(folder / "noise.npz"))


def table_file(folder: Path) -> DataConfig:
    source = np.random.default_rng(2)
    lines = ["age,town,kind"] + [
        f"{source.normal():.3f},{'abc'[source.integers(3)]},{'xyz'[row % 3]}"
        for row in range(SAMPLES)
    ]
    (folder / "rows.csv").write_text("\n".join(lines))
    return DataConfig(dataset="table", path=str(folder / "rows.csv"), target="kind")


def arrays_of(dataset: Dataset) -> Iterator[np.ndarray]:
    for own in (dataset.x, dataset.y, dataset.codes or {}):
        yield from own.values()


@pytest.mark.parametrize("make", [images_file, table_file])
def test_a_large_data_set_is_the_same_from_files(
    tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch, make: Any
) -> None:
    """Arrays, facts, fingerprint and encoder; another process reads no source again."""
    wanted = make(tmp_path)
    small = load(wanted)
    assert not own_cache.exists()
    for module in (rows, stored, npz):
        monkeypatch.setattr(module, "FROM_BYTES", 1)
    monkeypatch.setattr(rows, "PART_SAMPLES", 7)
    large = load(wanted)
    Path(str(wanted.path)).unlink()
    again = load(wanted, fingerprint=small.fingerprint)
    for found in (large, again):
        assert all(isinstance(array, np.memmap) for array in arrays_of(found))
        assert all(map(np.array_equal, arrays_of(found), arrays_of(small)))
        assert all(
            a.dtype == b.dtype for a, b in zip(arrays_of(found), arrays_of(small), strict=True)
        )
        assert found.facts == small.facts
        assert np.array_equal(found.mean, small.mean)
        assert np.array_equal(found.std, small.std)
        assert (found.encoder is None) == (small.encoder is None)
        if found.encoder is not None and small.encoder is not None:
            assert found.encoder.as_json() == small.encoder.as_json()
    assert {entry.kind for entry in cache.entries()} == {"large data sets"}
    assert not list(own_cache.glob("*/tmp*"))
    cache.remove()
    assert not cache.entries()


def test_other_content_has_other_files(tmp_path: Path, all_large: Path) -> None:
    """A file that changed is read again, and both contents stay readable by their fingerprints."""
    first = load(images_file(tmp_path))
    source = np.load(tmp_path / "noise.npz")
    np.savez(tmp_path / "noise.npz", images=source["images"] + 1, labels=source["labels"])
    other = load(DataConfig(dataset="npz", path=str(tmp_path / "noise.npz")))
    assert other.fingerprint != first.fingerprint
    assert stored.found(first.fingerprint) is not None
    assert stored.found(other.fingerprint) is not None


def test_damaged_files_are_made_again(tmp_path: Path, all_large: Path) -> None:
    """A file cut short, or facts without an end, count as missing."""
    wanted = images_file(tmp_path)
    first = load(wanted)
    pool = all_large / cache.DATASETS / f"{first.fingerprint}.x_train.npy"
    whole = np.array(first.x["train"])
    for broken in (pool, pool.parent / f"{first.fingerprint}.json"):
        broken.write_bytes(broken.read_bytes()[:-20])
        assert stored.found(first.fingerprint) is None
        assert np.array_equal(load(wanted, fingerprint=first.fingerprint).x["train"], whole)
        assert stored.found(first.fingerprint) is not None


def test_a_cache_that_cannot_be_written_keeps_nothing(
    tmp_path: Path, all_large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The data are then arrays of the process."""
    (tmp_path / "taken").write_bytes(b"")
    wanted = images_file(tmp_path)
    on_files = load(wanted)
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "taken"))
    found = load(wanted)
    assert not any(isinstance(array, np.memmap) for array in arrays_of(found))
    assert found.fingerprint == on_files.fingerprint


def test_processes_that_load_together_make_one_copy(tmp_path: Path, all_large: Path) -> None:
    """Four at once: one set of files, which all of them map."""
    wanted, found = images_file(tmp_path), []
    threads = [threading.Thread(target=lambda: found.append(load(wanted))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = {str(Path(str(one.x["train"].filename)).resolve()) for one in found}  # type: ignore[attr-defined]
    assert len(found) == 4
    assert len(files) == 1
    assert len(list((all_large / cache.DATASETS).glob("*.x_train.npy"))) == 1


def test_training_from_files_gives_the_same_bits(tmp_path: Path, all_large: Path) -> None:
    """Two members with augmentation and SSL, over chunks that a thread fetches ahead."""
    wanted = images_file(tmp_path)
    mapped = load(wanted)
    in_memory = {
        name: {split: np.array(array) for split, array in getattr(mapped, name).items()}
        for name in ("x", "y")
    }
    ordinary = replace(mapped, **in_memory)
    settings = config(augmentation="flip_crop", ssl={"weight": 0.1}, batch_size=4)
    trainers = [pack(data, settings, settings) for data in (mapped, ordinary)]
    kinds = [type(trainer.pool._x["train"]) for trainer in trainers]
    assert kinds == [Fetched, Resident]
    for _ in range(trainers[0].rounds):
        one, other = (trainer.train_round() for trainer in trainers)
        for a, b in zip(one, other, strict=True):
            assert np.array_equal(numbers_of(a), numbers_of(b), equal_nan=True)
    assert all(same(*(parameters_of(t, member) for t in trainers)) for member in (0, 1))


def test_what_is_expected_is_fetched_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """By another thread; something else than expected is fetched when it is asked for."""
    by: list[tuple[bool, int]] = []
    real = Fetched._fetch

    def seen(self: Fetched, index: Tensor) -> Tensor:
        ahead = threading.current_thread().name.startswith("sweeper-samples")
        by.append((ahead, int(index[0, 0])))
        return real(self, index)

    monkeypatch.setattr(Fetched, "_fetch", seen)
    x = torch.arange(20)
    samples = Fetched(x, torch.device("cpu"))
    first, second = torch.tensor([[3, 1]]), torch.tensor([[2, 0]])
    samples.expect(first)
    assert samples.take(first).tolist() == [[3, 1]]
    samples.expect(first)
    assert samples.take(second).tolist() == [[2, 0]]
    assert set(by) == {(True, 3), (False, 2)}


@pytest.mark.parametrize("finite", [True, False])
def test_metrics_counted_as_they_come_are_the_same(
    monkeypatch: pytest.MonkeyPatch, finite: bool
) -> None:
    """In parts of any size, to the bit; a member with an infinite logit has none."""
    source = torch.Generator().manual_seed(3)
    logits = torch.randn(2, 50, 4, generator=source)
    labels = torch.randint(4, (2, 50), generator=source)
    if not finite:
        logits[1, 33, 2] = float("inf")
    whole = measure(logits, labels, [30, 10, 6, 4])
    monkeypatch.setattr("trainers.metrics.COUNTED_TOGETHER", 100)
    counted, only_finite = Counted(), Counted(finite_only=True)
    for part in torch.arange(50).split(7):
        for each in (counted, only_finite):
            each.add(logits[:, part], labels[:, part])
    assert torch.equal(counted.numbers([30, 10, 6, 4]).nan_to_num(-1), whole.nan_to_num(-1))
    assert counted.sound.tolist() == only_finite.sound.tolist() == [True, finite]


TRAIN = """
import resource, sys
from dataclasses import replace
from pathlib import Path
from trainers.config import Config
from trainers.data import load
from trainers.loop import Member, PackTrainer
import trainers.compiled.form, torch

def data_bytes():
    found = Path("/proc/self/statm").read_text().split()
    return int(found[5]) * resource.getpagesize()  # of data and stack, without files

before = data_bytes()
most = before + (1 << 30)
resource.setrlimit(resource.RLIMIT_DATA, (most, most))
config = Config.model_validate(
    {
        "data": {
            "dataset": "npz",
            "path": sys.argv[1],
            "imbalance": {"profile": "exponential", "train_ratio": 0.5, "n_max": 12},
        },
        "train": {"epochs": 1, "batch_size": 8, "width": 0.25, "evaluations": 1},
    }
)
dataset = load(config.data)
assert dataset.size_bytes > 2e9, dataset.size_bytes
(result,) = PackTrainer(dataset, [Member(config, 0)]).train_round()
assert result.finite
print(dataset.size_bytes, data_bytes() - before)
"""


@pytest.mark.soak
def test_two_gigabytes_train_within_one(tmp_path: Path) -> None:
    """The process may have 1 GiB of memory of its own beyond what its imports take."""
    file = tmp_path / "large.npz"
    with zipfile.ZipFile(file, "w") as archive:
        for part, samples in (("train", 13_600), ("val", 16), ("test", 16)):
            with archive.open(f"x_{part}.npy", "w", force_zip64=True) as out:
                for piece in rows.npy((samples, 224, 224, 3), np.dtype(np.uint8), pixels(samples)):
                    out.write(piece)
            with archive.open(f"y_{part}.npy", "w") as out:
                np.save(out, np.arange(samples) % 4)
    environment = os.environ | {"SWEEPER_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(file)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]


def pixels(samples: int) -> Iterator[memoryview]:
    """Images of one shade each."""
    for start in range(0, samples, 16):
        shades = np.arange(start, start + 16, dtype=np.int64) * 37 % 251
        yield np.repeat(shades.astype(np.uint8), 224 * 224 * 3).data
