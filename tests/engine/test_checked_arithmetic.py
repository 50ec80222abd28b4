"""A launch computes with forms that are right where they compute, or not at all."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import planted_forms
import pytest
from command import TINY, sweeper

from sweeper.engine import worker
from sweeper.engine.messages import Job, JobMember, ProbeJob
from sweeper.engine.timing import Suited
from sweeper.store.store import Store
from trainers import arithmetic
from trainers.arithmetic import Guard
from trainers.config import Config
from trainers.forms import FORMS

BEST = next(iter(FORMS))
ONE_KIND = TINY.replace("  train.batch_size: [32, 64]\n", "").replace("lr:", "batch_size: 32, lr:")
CONFIG = Config.model_validate({"data": {"dataset": "digits"}, "train": {"width": 0.25}})


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """The plug-in files of a process in which a form with a wrong gradient is preferred."""
    path, right = planted_forms.bent_first(tmp_path), dict(FORMS)
    runpy.run_path(str(path))
    monkeypatch.setattr(arithmetic, "FORMS", dict(FORMS))
    FORMS.clear()
    FORMS.update(right)
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    guards: dict[int, Guard] = {}
    monkeypatch.setattr(worker, "_guards", guards)
    yield (str(path),)
    for guard in guards.values():
        guard.close()


def job(form: str, plugins: tuple[str, ...] = ()) -> Job:
    """A pack of one run."""
    member = JobMember(run=1, attempt=1, replicate=0, config=CONFIG.model_dump(mode="json"))
    return Job(
        pack=1, members=(member,), form=form, threads=1, device="cpu", checkpoint_dir="",
        checkpoint_seconds=1.0, fingerprints={}, plugins=plugins,
    )  # fmt: skip


def test_a_form_is_chosen_before_anything_is_timed(planted: tuple[str, ...]) -> None:
    """The first correct form is used; the errors of the forms before it are reported."""
    asked = ProbeJob(
        key="k", config=CONFIG.model_dump(mode="json"), ks=(1, 2), threads=4, device="cpu",
        plugins=planted,
    )  # fmt: skip
    suited = worker.suit(CONFIG, asked)
    assert isinstance(suited, Suited)
    assert (suited.form, suited.threads) == (BEST, 1)
    assert "its weight gradient is off by 0.4" in suited.findings[0]


def test_a_node_refuses_a_pack_whose_form_is_wrong_there(planted: tuple[str, ...]) -> None:
    """The refusal has the reason and the correct form; a correct form is not refused."""
    refused = worker.refusal(CONFIG, job("bent", planted))
    assert refused is not None
    assert refused.form == BEST
    assert "form 'bent' is wrong on this machine: convolution" in refused.text
    assert worker.refusal(CONFIG, job(BEST, planted)) is None


def test_a_node_refuses_a_pack_whose_form_it_lacks(planted: tuple[str, ...]) -> None:
    """As where the executor was not built, or the processor lacks its instructions."""
    refused = worker.refusal(CONFIG, job("compiled_other", planted[:0]))
    assert refused is not None
    assert "has no form 'compiled_other'; form " in refused.text


def test_a_sweep_says_which_form_it_does_not_use_and_keeps_why(tmp_path: Path) -> None:
    """One line; the finding and the threads lie with the plan, and the packs name their form."""
    plugin = planted_forms.bent_first(tmp_path)
    done = launched(tmp_path, plugin)
    assert done.returncode == 0, done.stderr
    told = " ".join(done.stderr.split())
    assert told.count("is wrong on this machine") == 1
    assert "weight gradient is off by 0.4 of its length" in told
    assert f"form '{BEST}' is used instead" in told
    with Store.open(f"sqlite:///{tmp_path / 'db.sqlite'}", create=False) as store:
        sweep = store.sweep("tiny")
        assert sweep is not None
        prices = store.prices(sweep.id)["prices"].values()
        assert {pack.form for pack in store.packs(sweep.id)} == {BEST}
    assert all(price["threads"] == 1 for price in prices)
    assert all("form 'bent' is wrong" in price["findings"][0] for price in prices)


def test_a_launch_without_a_right_form_stops_and_names_the_layer(tmp_path: Path) -> None:
    """Exit code 1, one line, and nothing was trained."""
    done = launched(tmp_path, planted_forms.all_wrong(tmp_path))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    told = " ".join(done.stderr.split())
    assert "no form is left to train with: form 'bent' is wrong on this machine: conv" in told
    assert "mean over pixels, 16 channels" in told
    assert "it crashes the process (SIGABRT" in told


def launched(folder: Path, plugin: Path):
    """A tiny sweep with a plug-in file."""
    (folder / "tiny.yaml").write_text(ONE_KIND)
    where = ("--storage", f"sqlite:///{folder / 'db.sqlite'}")
    return sweeper(
        "launch", "tiny.yaml", *where, "--plugin", str(plugin), "--yes", cwd=folder,
        SWEEPER_CACHE=str(folder / "cache"),
    )  # fmt: skip
