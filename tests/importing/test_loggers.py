"""What Ray Tune, MLflow and Weights & Biases leave behind becomes a sweep; nothing is unpickled."""

from __future__ import annotations

import csv
import io
import json
import pickle
from pathlib import Path

import pytest
from foreign import Imports, Write


class Trap:
    """A pickle of it makes a file when it is loaded."""

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (Path("sprung"),)


RATES = {"a": 0.1, "b": 0.2, "c": 0.4}


def ray_folder(*, progress: bool = False, short: str = "", failed: str = "") -> None:
    """A result folder as Ray Tune 2 writes it, two seeds for each rate."""
    for at, (name, lr) in enumerate((n, r) for n, r in RATES.items() for _ in range(2)):
        trial = Path("exp", f"train_5_{at:05d}_{at}_lr={lr}")
        trial.mkdir(parents=True)
        config = {"lr": lr, "seed": at % 2, "optimizer": {"name": "sgd"}}
        (trial / "params.json").write_text(json.dumps(config))
        (trial / "params.pkl").write_bytes(pickle.dumps(Trap()))
        reports = []
        for iteration in range(1, 2 if name == short else 4):
            report = {
                "acc": 0.5 + 0.1 * iteration + lr / 10 + 0.01 * (at % 2),
                "nested": {"loss": 1 / iteration},
                "timestamp": 1796012417 + iteration,
                "done": False,
                "training_iteration": iteration,
                "trial_id": f"5_{at:05d}",
                "time_total_s": 2.5 * iteration,
                "pid": 4242,
                "hostname": "host-of-a-person",
                "node_ip": "192.0.2.7",
            }
            reports.append(report if progress else {**report, "config": config})
        if name == failed:
            (trial / "error.txt").write_text("Traceback ...")
            reports = []
        if progress:
            out = io.StringIO()
            flat = [{**one, "nested/loss": one.pop("nested")["loss"]} for one in reports]
            writer = csv.DictWriter(out, list(flat[0]) if flat else [])
            writer.writeheader()
            writer.writerows(flat)
            (trial / "progress.csv").write_text(out.getvalue() if flat else "")
        else:
            text = "".join(f"{json.dumps(one)}\n" for one in reports)
            (trial / "result.json").write_text(text)


def values(imports: Imports) -> dict[tuple[float, int], float | None]:
    found = imports.rows(
        "SELECT c.factors, r.replicate, r.value FROM sweeper_run r "
        "JOIN sweeper_cell c ON c.id = r.cell_id"
    )
    return {(json.loads(factors)["lr"], replicate): value for factors, replicate, value in found}


EXPECTED = {
    (lr, seed): pytest.approx(0.8 + lr / 10 + 0.01 * seed, rel=1e-6)
    for lr in RATES.values()
    for seed in range(2)
}


@pytest.mark.parametrize("progress", [False, True])
def test_a_folder_of_ray_tune_becomes_a_sweep(imports: Imports, progress: bool) -> None:
    """From result.json, or from progress.csv and params.json where there is none."""
    ray_folder(progress=progress)
    code, out, err = imports.run("import", "exp", "--yes")
    assert (code, out) == (0, "exp\n"), err
    assert values(imports) == EXPECTED
    assert imports.rows("SELECT DISTINCT seconds FROM sweeper_run") == [(7.5,)]
    assert imports.rows("SELECT count(*) FROM sweeper_observation") == [(18,)]


def test_nothing_in_a_folder_is_unpickled_and_no_machine_is_named(imports: Imports) -> None:
    """The pickle beside each trial is never opened; host and address stay out of the database."""
    ray_folder()
    assert imports.run("import", "exp", "--yes")[0] == 0
    assert not Path("sprung").exists()
    kept = Path("sweeper.db").read_bytes()
    assert b"host-of-a-person" not in kept
    assert b"192.0.2.7" not in kept
    pickle.loads(Path(next(Path("exp").glob("*/params.pkl"))).read_bytes())  # noqa: S301
    assert Path("sprung").exists()


def test_trials_of_ray_tune_that_failed_or_stopped_early(imports: Imports) -> None:
    """A trial with an error has failed; a shorter trial is refused, or taken as stopped early."""
    ray_folder(short="b", failed="c")
    code, _, err = imports.run("import", "exp", "--yes")
    assert code == 2
    assert "train_5_00002_2_lr=0.2/result.json: line 1: run train_5_00002_2_lr=0.2 ends at" in err
    assert imports.run("import", "exp", "--short", "pruned", "--yes")[0] == 0
    states = imports.rows("SELECT state, count(*) FROM sweeper_run GROUP BY state ORDER BY state")
    assert states == [("complete", 2), ("failed", 2), ("pruned", 2)]


def mlflow_folder() -> None:
    """A file store of MLflow, with a deleted run and a failed run."""
    runs = [(lr, seed, "3") for lr in RATES.values() for seed in range(2)]
    for at, (lr, seed, status) in enumerate([*runs, (0.1, 0, "deleted"), (0.8, 0, "4")]):
        run = Path("mlruns", "0", f"{at:032x}")
        (run / "metrics").mkdir(parents=True)
        (run / "params").mkdir()
        (run / "artifacts").mkdir()
        (run / "artifacts" / "model.pkl").write_bytes(pickle.dumps(Trap()))
        stage = "deleted" if status == "deleted" else "active"
        (run / "meta.yaml").write_text(
            f"run_id: {at:032x}\nstatus: {status if status != 'deleted' else 3}\n"
            f"lifecycle_stage: {stage}\nstart_time: 1000\nend_time: 8500\nuser_id: somebody\n"
        )
        (run / "params" / "lr").write_text(str(lr))
        (run / "params" / "seed").write_text(str(seed))
        if status != "4":
            lines = [f"17 {0.5 + 0.1 * step + lr / 10 + 0.01 * seed} {step}" for step in range(4)]
            (run / "metrics" / "acc").write_text("\n".join(lines) + "\n")
    Path("mlruns", "0", "meta.yaml").write_text("name: Default\n")


@pytest.mark.parametrize("folder", ["mlruns", "mlruns/0"])
def test_a_file_store_of_mlflow_becomes_a_sweep(imports: Imports, folder: str) -> None:
    """Numbers in texts are numbers again; deleted runs are left out, failed ones have failed."""
    mlflow_folder()
    code, _, err = imports.run("import", folder, "--yes")
    assert code == 0, err
    found = values(imports)
    assert found.pop((0.8, 0)) is None
    assert found == EXPECTED
    assert imports.rows("SELECT DISTINCT seconds FROM sweeper_run") == [(7.5,)]
    assert not Path("sprung").exists()


def test_a_metric_of_mlflow_that_is_no_metric_is_refused(imports: Imports) -> None:
    """The file and the line."""
    mlflow_folder()
    bad = next(Path("mlruns").glob("0/*/metrics/acc"))
    bad.write_text("17 high 0\n")
    code, _, err = imports.run("import", "mlruns", "--yes")
    assert (code, err) == (2, f"sweeper: {bad}: line 1: is no `timestamp value step`\n")


MLFLOW_CSV = (
    "run_id,experiment_id,status,artifact_uri,start_time,metrics.acc,params.lr,params.seed\n"
)
MLFLOW_ROW = "{at:032x},0,FINISHED,file:///x/{at},2026-01-01 10:00:0{at},{acc},{lr},{seed}"
WANDB_CSV = '"Name","State","Notes","User","Tags","Created","Runtime","Sweep","lr","seed","acc"\n'
WANDB_ROW = (
    '"calm-fog-{at}","finished","-","me","","2026-01-0{at}","7.5","s","{lr}","{seed}","{acc}"'
)


@pytest.mark.parametrize(
    ("head", "row"),
    [
        (MLFLOW_CSV, MLFLOW_ROW),
        (WANDB_CSV, WANDB_ROW),
    ],
    ids=["mlflow", "wandb"],
)
def test_exported_tables_are_understood_without_options(
    imports: Imports, write: Write, head: str, row: str
) -> None:
    """`search_runs().to_csv()` of MLflow, and the table that Weights & Biases exports."""
    runs = [(lr, seed) for lr in RATES.values() for seed in range(2)]
    rows = [
        row.format(at=at, lr=lr, seed=seed, acc=0.8 + lr / 10 + 0.01 * seed)
        for at, (lr, seed) in enumerate(runs, 1)
    ]
    code, _, err = imports.run("import", write("runs.csv", head + "\n".join(rows)), "--yes")
    assert code == 0, err
    assert values(imports) == EXPECTED
    [(spec,)] = imports.rows("SELECT spec FROM sweeper_sweep")
    assert list(json.loads(spec)["scientific"]) == ["lr"]


def test_a_history_has_a_row_for_each_step_of_which_few_have_the_metric(
    imports: Imports, write: Write
) -> None:
    """JSON lines of a logger: steps without the metrics that are asked for are no evaluations."""
    lines = [
        {
            "run": f"r{run}",
            "_step": step,
            "_runtime": 1.0 * step,
            "config": {"lr": lr},
            **({"val/acc": 0.5 + step / 100 + lr} if step % 5 == 4 else {"loss": 1.0}),
        }
        for run, lr in enumerate((0.1, 0.2))
        for step in range(10)
    ]
    text = "\n".join(map(json.dumps, lines))
    words = ("--metric", "val/acc", "--epoch", "_step", "--run", "run")
    assert imports.run("import", write("history.jsonl", text), *words, "--yes")[0] == 0
    epochs = imports.rows("SELECT DISTINCT epoch FROM sweeper_observation ORDER BY epoch")
    assert epochs == [(4,), (9,)]
    assert sorted(map(float, filter(None, values(imports).values()))) == pytest.approx([0.69, 0.79])


def test_a_folder_without_runs_is_refused(imports: Imports) -> None:
    """One line, exit code 2."""
    Path("empty").mkdir()
    code, _, err = imports.run("import", "empty", "--yes")
    assert code == 2
    assert "empty: is of no format that can be imported" in err
    Path("exp/trial").mkdir(parents=True)
    Path("exp/trial/result.json").write_text("{not json\n")
    code, _, err = imports.run("import", "exp", "--yes")
    assert code == 2
    assert err.startswith("sweeper: exp/trial/result.json: cannot be read: ")
