"""What all tests share: examples that are the same on every machine, and long tests first."""

from __future__ import annotations

import atexit
import fcntl
import gc
import os
import shutil
import tempfile
from collections.abc import Generator, Iterator
from itertools import groupby
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, settings

from trainers.cores import cores

settings.register_profile(
    "same", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("new", settings.get_profile("same"), derandomize=False, print_blob=True)
settings.load_profile("same")
ROOT = Path(__file__).parents[1]
SLOW = frozenset(Path(__file__).with_name("slow.txt").read_text("utf-8").splitlines())
MOST_PROCESSES = 8  # each may start a Ray, which needs a gigabyte of memory
LONG = ("faults", "door", "engine", "cli", "web")  # folders with a Ray or a browser: the longest

if "PYTEST_XDIST_WORKER" not in os.environ:  # a cache of this run, which its processes share
    os.environ["SWEEPER_CACHE"] = tempfile.mkdtemp(prefix="sweeper-tests-")
    atexit.register(shutil.rmtree, os.environ["SWEEPER_CACHE"], ignore_errors=True)
    os.environ["XDG_CONFIG_HOME"] = os.environ["SWEEPER_CACHE"]  # not the developer's own settings

# A home of each process's own: not the developer's files, and nothing is left in theirs.
os.environ["HOME"] = tempfile.mkdtemp(prefix="home-of-tests-")
atexit.register(shutil.rmtree, os.environ["HOME"], ignore_errors=True)
TOKEN = Path(os.environ["HOME"], ".ray", "auth_token")


@pytest.fixture(autouse=True)
def no_token_is_left_in_the_home() -> Iterator[None]:
    """Fails the test in which Ray writes its token where every user of the machine can read it."""
    yield
    left = TOKEN.exists()
    TOKEN.unlink(missing_ok=True)
    assert not left, f"{TOKEN} was written: each Ray gets its token in RAY_AUTH_TOKEN"


@pytest.fixture(autouse=True, scope="session")
def scripts_are_read_once() -> Iterator[None]:
    """Lets Alembic read migrations, ours and Optuna's, once a process, not for each database."""
    read, known = ScriptDirectory.from_config, dict[str | None, ScriptDirectory]()

    def from_config(config: Config) -> ScriptDirectory:
        folder = config.get_main_option("script_location")
        if folder not in known:
            known[folder] = read(config)
        return known[folder]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


@pytest.fixture(scope="session")
def undisturbed() -> Path:
    """The database of a sweep that nothing happened to; one for all test processes."""
    from places import Place

    folder = Path(os.environ["SWEEPER_CACHE"], "undisturbed")
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            one = Place(folder)
            try:
                one.finish()
            finally:
                one.close()
            (folder / "made").touch()
    return folder / "sweep.db"


def _quick_only(config: pytest.Config) -> bool:
    """Whether slow tests are left out, as `make fast` does."""
    return "not slow" in config.option.markexpr


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Two processes more than cores: those with a Ray or a browser wait as long as they compute."""
    return min(cores() + (0 if _quick_only(config) else 2), MOST_PROCESSES)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Does not even read the modules that slow.txt lists, where they would not run."""
    listed = collection_path.is_relative_to(ROOT) and (
        collection_path.relative_to(ROOT).as_posix() in SLOW
    )
    return True if listed and _quick_only(config) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Searches for no garbage while modules load, and afterwards not among what they loaded."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Marks what slow.txt lists, a module or a test with all its parameters."""
    test = item.nodeid.partition("[")[0]
    if not SLOW.isdisjoint((test, test.partition("::")[0])):
        item.add_marker("slow")


@pytest.hookimpl(trylast=True)  # when those that do not run are gone
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins the share of each test process with the longest tests; otherwise the order stays.

    Of n processes each is given an n-th of the list, and takes from the others when it is through:
    were a long test among the last, the other processes would wait for it. The modules of slow
    tests are dealt out whole, because their tests share what is dear to make.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    slow = [item for item in items if item.get_closest_marker("slow")]
    quick = [item for item in items if not item.get_closest_marker("slow")]
    modules = [list(group) for _, group in groupby(slow, lambda item: item.path)]
    modules.sort(key=lambda module: module[0].path.parent.name not in LONG)
    total, ordered = len(items), []
    for process in range(processes):
        mine = [item for module in modules[process::processes] for item in module]
        room = max(0, total * (process + 1) // processes - len(ordered) - len(mine))
        ordered += mine + quick[:room]
        quick = quick[room:]
    items[:] = ordered + quick
