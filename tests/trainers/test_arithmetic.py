"""No layer trains on a wrong gradient, whatever the processor and the number of threads."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import planted_forms
import pytest
from patience import HANG

from trainers import arithmetic
from trainers.arithmetic import CheckEnded, Choice, Guard, WrongArithmetic
from trainers.config import Config
from trainers.forms import FORMS
from trainers.shapes import TITLES, Layer, calls
from trainers.threads import threads_for

# Threads that wait in a loop take a busy machine's time from those that they wait for.
PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
BEST = next(iter(FORMS))
NARROW = Config.model_validate({"data": {"dataset": "digits"}, "train": {"width": 0.25}}).train


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Nothing is known at the start of a test; forms that a test plants are gone after it."""
    monkeypatch.setenv("SWEEPER_CACHE", str(tmp_path / "cache"))
    forms = dict(FORMS)
    for name in forms:
        monkeypatch.setitem(FORMS, name, forms[name])
    return tmp_path / "cache"


def layers(members: int = 1) -> list[Layer]:
    """Those of the narrow network."""
    return calls(NARROW, inputs=(1, 8, 8), classes=10, samples=200, members=members)


def newer(members: int) -> list[Layer]:
    """Those of layer norms, attention, depthwise and standardised convolutions, and maxima."""
    large = {"stem": "imagenet", "weight_standardisation": True, "ghost_batch": 4}
    small = {"width": 0.1, "depth": 6, "convnext": {"patch": 1}}
    found: list[Layer] = []
    for settings in (
        {"model": "resnet18", "width": 0.1, **large},
        {"model": "convnext", **small},
        {"model": "vit", "width": 0.1, "depth": 1},
    ):
        train = Config.model_validate({"train": {"batch_size": 16, **settings}}).train
        found += calls(train, inputs=(1, 8, 8), classes=10, samples=200, members=members)
    return found


def guard(plugin: Path, monkeypatch: pytest.MonkeyPatch) -> Guard:
    """A guard of the forms that a plug-in file brings, which this process has loaded too."""
    before = dict(FORMS)
    runpy.run_path(str(plugin))
    planted = dict(FORMS)
    FORMS.clear()
    FORMS.update(before)
    monkeypatch.setattr(arithmetic, "FORMS", planted)
    return Guard(threads=1, plugins=(str(plugin),))


@pytest.mark.parametrize(
    ("threads", "isa"),
    [
        (1, ""),
        (2, "AVX2"),
        pytest.param(1, "AVX2", marks=pytest.mark.soak),
        pytest.param(2, "", marks=pytest.mark.soak),
    ],
)
def test_every_forms_layers_have_the_gradients_of_float64(threads: int, isa: str) -> None:
    """Channels, kernels, strides, members and memory formats; AVX2 has kernels of its own."""
    found = subprocess.run(
        [sys.executable, "-m", "tests.support.layer_gradients"],
        env={**os.environ, "OMP_NUM_THREADS": str(threads), "ONEDNN_MAX_CPU_ISA": isa} | PATIENT,
        capture_output=True, text=True, timeout=HANG, check=False,
    )  # fmt: skip
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout == f"{501 * len(FORMS)} compared\n"


@dataclass(frozen=True)
class Checked:
    """The choices for the narrow network by members, and the cache that keeps them."""

    choices: dict[int, Choice]
    cache: Path


@pytest.fixture(scope="module")
def checked(tmp_path_factory: pytest.TempPathFactory) -> Checked:
    """One process checks all: it takes seconds to start."""
    folder = tmp_path_factory.mktemp("checked") / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEEPER_CACHE", str(folder))
        with Guard(threads=1) as one:
            choices = {members: one.choose(layers(members)) for members in (1, 2, 5)}
            return Checked(choices | {3: one.choose(newer(3))}, folder)


@pytest.mark.parametrize("members", [1, 2, 3, 5])
def test_the_first_form_passes_its_own_check(checked: Checked, members: int) -> None:
    """The narrow network, at a width at which oneDNN has been wrong; the newer layers for three."""
    choice = checked.choices[members]
    assert (choice.form, choice.findings) == (BEST, ())


def test_a_wrong_gradient_is_found_and_the_next_form_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line names the layer, how far it is off, and the form in its place."""
    with guard(planted_forms.bent_first(tmp_path), monkeypatch) as one:
        choice = one.choose(layers())
    (line,) = choice.lines
    assert choice.form == BEST
    assert line.startswith("form 'bent' is wrong on this machine: convolution 3x3, stride 1, ")
    assert "its weight gradient is off by 0.4 of its length" in line
    assert line.endswith(f"form '{BEST}' is used instead")


def test_every_kind_of_layer_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each layer that a form bends by a thousandth of its gradient is found, kind by kind."""
    kinds = {layer.kind: layer for layer in [*layers(), *newer(1)]}
    assert set(kinds) | {"group_norm"} == set(TITLES)
    with guard(planted_forms.all_bent(tmp_path), monkeypatch) as one:
        assert [kind for kind, layer in kinds.items() if one.wrong("bent", [layer]) is None] == []


def test_a_form_that_kills_its_process_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that trains lives on."""
    with guard(planted_forms.deadly_first(tmp_path), monkeypatch) as one:
        choice = one.choose(layers())
    (line,) = choice.lines
    assert choice.form == BEST
    assert "mean over pixels, 16 channels" in line
    assert "it crashes the process (SIGABRT" in line


def test_without_a_right_form_nothing_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names each form's layer."""
    with (
        guard(planted_forms.all_wrong(tmp_path), monkeypatch) as one,
        pytest.raises(WrongArithmetic, match=r"form 'bent' .*convolution.*form 'deadly' .*mean"),
    ):
        one.choose(layers())


def test_what_is_known_is_not_checked_again(
    checked: Checked, own_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By any later process with the same PyTorch, processor, threads and forms."""
    shutil.copytree(checked.cache, own_cache)
    monkeypatch.setattr(arithmetic, "_Process", None)
    Guard(threads=1).choose(layers())
    with pytest.raises(TypeError):
        Guard(threads=2).choose(layers())
    with pytest.raises(TypeError):
        Guard(threads=1).choose(layers(members=3))


def test_a_cache_that_is_damaged_or_cannot_be_written_only_costs_time(
    checked: Checked, own_cache: Path
) -> None:
    """The check runs anew."""
    shutil.copytree(checked.cache, own_cache)
    (file,) = (own_cache / "arithmetic").iterdir()
    file.write_bytes(b"{")
    with Guard(threads=1) as one:
        assert one.choose(layers()).form == BEST
    file.unlink()
    (own_cache / "arithmetic").rmdir()
    (own_cache / "arithmetic").write_bytes(b"")
    with Guard(threads=1) as one:
        assert one.choose(layers()).form == BEST


def test_a_check_that_cannot_run_says_why(tmp_path: Path) -> None:
    """It is no verdict on any layer."""
    broken = tmp_path / "broken.py"
    broken.write_text("raise RuntimeError('no such thing')")
    with (
        Guard(threads=1, plugins=(str(broken),)) as one,
        pytest.raises(CheckEnded, match="no such thing"),
    ):
        one.choose(layers())


def test_a_process_that_ends_idle_is_no_verdict_on_the_layer_asked_for_then(
    tmp_path: Path,
) -> None:
    """A new process is asked: here the first one ends as soon as it is ready, slowly."""
    plugin = tmp_path / "idle.py"
    plugin.write_text(
        "import __main__, atexit, pathlib, time\n"
        f"seen = pathlib.Path({str(tmp_path / 'seen')!r})\n"
        "if not seen.exists():\n"
        "    seen.touch()\n"
        "    __main__.serve = lambda answer: None\n"
        "    atexit.register(time.sleep, 1)\n"
    )
    with Guard(threads=1, plugins=(str(plugin),)) as one:
        assert one.wrong(BEST, layers()[:1]) is None
    assert (tmp_path / "seen").exists()


def test_a_lack_of_memory_is_not_remembered(tmp_path: Path) -> None:
    """There may be more the next time: the layer is checked again, here where there is room."""
    plugin = tmp_path / "full.py"
    plugin.write_text(
        "import __main__, pathlib\n"
        f"seen, check = pathlib.Path({str(tmp_path / 'seen')!r}), __main__.check\n"
        "def full(layer, form):\n"
        "    if seen.exists():\n"
        "        return check(layer, form)\n"
        "    seen.touch()\n"
        "    raise MemoryError('no room')\n"
        "__main__.check = full\n"
    )
    with Guard(threads=1, plugins=(str(plugin),)) as one:
        with pytest.raises(MemoryError, match="no room"):
            one.choose(layers()[:1])
        one.choose(layers()[:1])
    with Guard(threads=1, plugins=(str(plugin),)) as one:
        assert one.choose(layers()[:1]).form == BEST


def test_the_layers_are_those_of_the_step() -> None:
    """ResNet-8: nine convolutions, as many norms, a mean and a head; their shapes by hand."""
    found = layers(members=3)
    kinds = [layer.kind for layer in found]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {"convolution": 9, "batch_norm": 9, "pooled": 1, "linear": 1}
    strided = {(a.kernel, a.inputs, a.outputs, a.size) for a in found if a.stride == 2}
    assert strided == {(k, c, 2 * c, (s, s)) for k in (1, 3) for c, s in ((4, 8), (8, 4))}
    assert {layer.members for layer in found} == {3}
    assert found[0].entry == (found[0].batch, 3, 1, 8, 8)


def test_threads_follow_the_size_of_a_step() -> None:
    """A small step gets one, a large one all that there are; multiply-adds are counted by hand."""
    small = layers()
    per_image = 64 * 9 * (4 + 16 + 16) + 16 * (9 * 32 + 9 * 64 + 32) + 4 * (9 * 128 + 9 * 256 + 128)
    assert sum(one.multiply_adds for one in small) == small[0].batch * (per_image + 16 * 10)
    assert threads_for(small, most=8) == 1
    wide = Config.model_validate(
        {"data": {"dataset": "digits"}, "train": {"width": 8.0, "batch_size": 128}}
    ).train
    large = calls(wide, inputs=(3, 32, 32), classes=10, samples=5000, members=1)
    assert threads_for(large, most=8) == 8
    assert threads_for(large, most=1) == 1
