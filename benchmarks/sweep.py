"""The same sweep in the ways that people use, and by Sweeper.

A plain Optuna loop, the same over two processes by joblib, the replicates of a batch size together
by `torch.func.vmap`, and Ray Tune with OptunaSearch.

Aim: Sweeper makes at least 10 times the runs a minute of (a) a plain Optuna loop and of (b) Ray
Tune as it comes, and 6 times those of (b) with `reuse_actors=True`; and at no batch size is it
slower than (a). What was seen is in docs/performance.md.

The work: batch 2, 8, 32, 128 x 5 replicates; ResNet-8 of width 16 on digits, the same splits and
epochs; every number of every epoch ends in a SQLite file. Sweeper measures the training split too,
and recomputes batch-norm statistics for it; the others do neither.

Each way runs in a process of its own, one after the other. Start-up and shut-down (imports, Ray)
are told apart from work; Sweeper's probe counts as work. Seconds by batch size are those that the
machine spent: a trial's own seconds for the plain loop, divided by the two workers for the others.

    python benchmarks/sweep.py [--epochs 5] [--replicates 5] [--ways plain,sweeper]
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

BATCHES = (2, 8, 32, 128)
WORKERS = 2


@dataclass(frozen=True, kw_only=True)
class Task:
    """How much is to be done, and where."""

    epochs: int
    replicates: int
    folder: str

    @property
    def points(self) -> list[dict[str, int]]:
        """Every (batch size, seed), batch sizes interleaved."""
        seeds = range(self.replicates)
        return [{"seed": s, "batch_size": b} for s, b in product(seeds, BATCHES)]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What one way took, in seconds; `seconds` by batch size are the whole machine's."""

    runs: int
    work: float
    seconds: dict[int, float] = field(default_factory=dict)


def plain(task: Task) -> Outcome:
    """(a) One process, `study.optimize`-like, torch's default threads."""
    import optuna

    from benchmarks.ordinary import splits, train

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=f"sqlite:///{task.folder}/plain.db", direction="maximize")
    splits()
    seconds = dict.fromkeys(BATCHES, 0.0)

    def objective(trial: optuna.Trial) -> float:
        batch_size = trial.suggest_categorical("batch_size", BATCHES)
        seed = trial.suggest_int("seed", 0, task.replicates - 1)
        began, value = time.perf_counter(), 0.0
        history = []
        for epoch, numbers in enumerate(
            train(batch_size=batch_size, seed=seed, epochs=task.epochs), start=1
        ):
            value = numbers["val"]["minority_accuracy"]
            trial.report(value, epoch)
            history.append(numbers)
        trial.set_user_attr("history", history)
        seconds[batch_size] += time.perf_counter() - began
        return value

    began = time.perf_counter()
    for point in task.points:
        study.enqueue_trial(point)
    study.optimize(objective, n_trials=len(task.points))
    return Outcome(runs=len(study.trials), work=time.perf_counter() - began, seconds=seconds)


def _train(point: dict[str, int], epochs: int) -> tuple[float, list[dict[str, Any]]]:
    """Seconds and numbers of one run, in a process that may do others before and after."""
    import torch

    from benchmarks.ordinary import train

    torch.set_num_threads(1)
    began = time.perf_counter()
    history = list(train(epochs=epochs, **point))
    return time.perf_counter() - began, history


def joblib_two(task: Task) -> Outcome:
    """Two processes of one thread; the results go to a study as they come."""
    from joblib import Parallel, delayed

    began, seconds = time.perf_counter(), dict.fromkeys(BATCHES, 0.0)
    rows = Parallel(n_jobs=WORKERS, return_as="generator")(
        delayed(_train)(point, task.epochs) for point in task.points
    )
    study = _study(f"sqlite:///{task.folder}/joblib.db", task)
    for point, (took, history) in zip(task.points, rows, strict=True):
        seconds[point["batch_size"]] += took / WORKERS
        _tell(study, history)
    return Outcome(runs=len(study.trials), work=time.perf_counter() - began, seconds=seconds)


def vmap(task: Task) -> Outcome:
    """The replicates of a batch size at once, in one process with torch's default threads."""
    from benchmarks.ordinary import splits, train_together

    splits()
    began, seconds = time.perf_counter(), dict.fromkeys(BATCHES, 0.0)
    study = _study(f"sqlite:///{task.folder}/vmap.db", task, by_seed=False)
    for batch_size in BATCHES:
        start = time.perf_counter()
        rounds = list(
            train_together(batch_size=batch_size, seeds=range(task.replicates), epochs=task.epochs)
        )
        for member in range(task.replicates):
            _tell(study, [numbers[member] for numbers in rounds])
        seconds[batch_size] = time.perf_counter() - start
    return Outcome(runs=len(study.trials), work=time.perf_counter() - began, seconds=seconds)


def _study(url: str, task: Task, *, by_seed: bool = True) -> Any:
    """A study with every point in its queue, batch sizes interleaved or one after the other."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=url, direction="maximize")
    for point in task.points if by_seed else sorted(task.points, key=lambda p: p["batch_size"]):
        study.enqueue_trial(point)
    return study


def _tell(study: Any, history: list[dict[str, Any]]) -> None:
    trial = study.ask()
    for epoch, numbers in enumerate(history, start=1):
        trial.report(numbers["val"]["minority_accuracy"], epoch)
    trial.set_user_attr("history", history)
    study.tell(trial, history[-1]["val"]["minority_accuracy"])


def _ray(task: Task, *, reuse: bool) -> Outcome:
    """(b) A class Trainable, two at a time, OptunaSearch over a SQLite study."""
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"
    import optuna
    import ray
    from optuna.distributions import CategoricalDistribution, IntDistribution
    from ray import tune
    from ray.tune.search.optuna import OptunaSearch

    from benchmarks.ordinary import train

    class Ordinary(tune.Trainable):
        def setup(self, config: dict[str, Any]) -> None:
            self._rounds = train(epochs=task.epochs, **config)
            self._done = 0

        def step(self) -> dict[str, Any]:
            numbers = next(self._rounds)
            self._done += 1
            value = numbers["val"]["minority_accuracy"]
            return {**numbers, "value": value, "done": self._done == task.epochs}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self.setup(new_config)
            return True

    root = str(Path(__file__).parents[1])
    runtime = {"env_vars": {"PYTHONPATH": root}}
    # Without it Ray writes a token to ~/.ray/auth_token, where others can read it.
    os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, runtime_env=runtime)
    search = OptunaSearch(
        space={
            "batch_size": CategoricalDistribution(BATCHES),
            "seed": IntDistribution(0, task.replicates - 1),
        },
        metric="value",
        mode="max",
        points_to_evaluate=task.points,
        storage=optuna.storages.RDBStorage(f"sqlite:///{task.folder}/ray-{reuse}.db"),
        study_name="ray",
    )
    began = time.perf_counter()
    tuner = tune.Tuner(
        tune.with_resources(Ordinary, {"cpu": 1}),
        tune_config=tune.TuneConfig(
            search_alg=tune.search.ConcurrencyLimiter(search, max_concurrent=WORKERS),
            num_samples=len(task.points),
            reuse_actors=reuse,
        ),
        run_config=tune.RunConfig(
            storage_path=f"{task.folder}/ray",
            verbose=0,
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )
    results = tuner.fit()
    work = time.perf_counter() - began
    if results.errors:
        raise results.errors[0]
    seconds = dict.fromkeys(BATCHES, 0.0)
    for result in results:
        seconds[result.config["batch_size"]] += result.metrics["time_total_s"] / WORKERS
    ray.shutdown()
    return Outcome(runs=len(results), work=work, seconds=seconds)


def ray_default(task: Task) -> Outcome:
    """(b) as it comes."""
    return _ray(task, reuse=False)


def ray_reuse(task: Task) -> Outcome:
    """(b) with `reuse_actors=True`."""
    return _ray(task, reuse=True)


SPEC = """
name: bench
question: How fast?
data: {{dataset: digits}}
train: {{model: resnet, depth: 8, width: 1, epochs: {epochs}, lr: 0.1, lr_scaling: sqrt}}
scientific:
  train.batch_size: [2, 8, 32, 128]
replicates: {replicates}
resources: {{cpus: 1, workers: 2}}
"""


def sweeper(task: Task) -> Outcome:
    """(c) `sweeper launch`: packs over the replicates, two workers of one thread."""
    from sweeper.engine.driver import launch
    from sweeper.engine.progress import Probing
    from sweeper.spec import parse
    from sweeper.store import Store

    url = f"sqlite:///{task.folder}/sweeper.db"
    spec = parse(SPEC.format(epochs=task.epochs, replicates=task.replicates), "bench.yaml")
    probing: list[float] = []

    def see(event: Any) -> None:
        if isinstance(event, Probing):
            probing.append(time.time())

    outcome = launch(spec, storage=url, on_event=see)
    if outcome.exit_code:
        sys.exit(outcome.message)
    with Store.open(url, create=False) as store:
        # Ray is up when the first kind of runs is given to a worker.
        return _read(store, began=probing[0])


def _read(store: Any, *, began: float) -> Outcome:
    """Runs, and the seconds from `began` (of the epoch) to the end of the last pack."""
    sweep = store.sweep("bench")
    cells = {cell.id: cell for cell in store.cells(sweep.id)}
    runs = {run.id: run for run in store.runs(sweep.id)}
    attempts = store.attempts(sweep.id)
    packs: dict[int, tuple[int, Any, Any]] = {}
    for attempt in attempts:
        batch = cells[runs[attempt.run_id].cell_id].factors["train.batch_size"]
        _, first, last = packs.get(attempt.pack_id, (batch, attempt.started_at, attempt.ended_at))
        packs[attempt.pack_id] = (
            batch,
            min(first, attempt.started_at),
            max(last, attempt.ended_at),
        )
    seconds = dict.fromkeys(BATCHES, 0.0)
    for batch, first, last in packs.values():
        seconds[batch] += (last - first).total_seconds() / WORKERS
    end = max(last for _, _, last in packs.values())
    done = sum(run.state == "complete" for run in runs.values())
    return Outcome(runs=done, work=end.timestamp() - began, seconds=seconds)


WAYS: dict[str, tuple[str, Callable[[Task], Outcome]]] = {
    "plain": ("(a) plain Optuna loop", plain),
    "joblib": ("(a) by joblib, two processes", joblib_two),
    "vmap": ("(a) by torch.func.vmap", vmap),
    "ray": ("(b) Ray Tune + OptunaSearch", ray_default),
    "ray_reuse": ("(b) the same, reuse_actors", ray_reuse),
    "sweeper": ("(c) Sweeper", sweeper),
}


def _one(way: str, task: Task) -> None:
    """In a process of its own: do the work, print what it took as the last line."""
    outcome = WAYS[way][1](task)
    print(json.dumps(asdict(outcome)), flush=True)


def _run(way: str, task: Task) -> tuple[Outcome, float]:
    """Run one way in a fresh process; its outcome, and the whole process's seconds."""
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root}
    command = [sys.executable, __file__, "--one", way, "--folder", task.folder]
    command += ["--epochs", str(task.epochs), "--replicates", str(task.replicates)]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{way} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    found["seconds"] = {int(batch): value for batch, value in found["seconds"].items()}
    return Outcome(**found), wall


def _rate(outcome: Outcome) -> float:
    return 60 * outcome.runs / outcome.work


def _table(found: dict[str, tuple[Outcome, float]]) -> None:
    """Print runs a minute, start-up apart, ratios, and seconds by batch size."""
    print(f"\n{'way':<30}{'runs':>6}{'work s':>9}{'start s':>9}{'runs/min':>10}", end="")
    print("".join(f"{f'b={batch}':>9}" for batch in BATCHES))
    for way, (outcome, wall) in found.items():
        print(f"{WAYS[way][0]:<30}{outcome.runs:>6}{outcome.work:>9.1f}", end="")
        print(f"{wall - outcome.work:>9.1f}{_rate(outcome):>10.1f}", end="")
        print("".join(f"{outcome.seconds[batch]:>9.1f}" for batch in BATCHES))
    if "sweeper" not in found:
        return
    ours, wall = found["sweeper"]
    print("\nSweeper's runs a minute over theirs (with start-up), and by batch size:")
    for way, (outcome, their_wall) in found.items():
        if way == "sweeper":
            continue
        ratios = {batch: outcome.seconds[batch] / ours.seconds[batch] for batch in BATCHES}
        print(f"{WAYS[way][0]:<30}{_rate(ours) / _rate(outcome):>6.2f} x", end="")
        print(f" ({their_wall / wall:.2f} x)   ", end="")
        print("".join(f"{f'b={batch}':>8}{ratio:>6.2f}" for batch, ratio in ratios.items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--replicates", type=int, default=5)
    parser.add_argument("--ways", default=",".join(WAYS))
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        task = Task(epochs=given.epochs, replicates=given.replicates, folder=given.folder)
        return _one(given.one, task)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        task = Task(epochs=given.epochs, replicates=given.replicates, folder=folder)
        for way in given.ways.split(","):
            print(f"{WAYS[way][0]} ...", flush=True)
            found[way] = _run(way, task)
    _table(found)


if __name__ == "__main__":
    main()
