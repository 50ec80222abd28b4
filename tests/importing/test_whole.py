"""A sweep in one file: everything comes back as it was, in any database, and to Optuna."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import planted
import pytest
from foreign import Imports
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import Connection

from sweeper.importing import whole
from sweeper.report import page
from sweeper.states import Ending, RunState
from sweeper.store import Store, lease, rows
from sweeper.store.restored import STEP
from sweeper.store.study import Study

FIRST, SECOND, THIRD = "sqlite:///first.db", "sqlite:///second.db", "sqlite:///third.db"
FILE = "all.sweep.zip"


def small(**changes: Any) -> planted.Plan:
    return planted.plan(levels={planted.BATCH: [2, 8]}, replicates=2, epochs=2, **changes)


def stored(plan: planted.Plan, storage: str = FIRST) -> str:
    """A sweep with its studies in a database; returns its name."""
    with Store.open(storage, create=True) as store:
        planted.fill(store, plan)
        sweep = store.sweep(plan.sweep.name)
        assert sweep is not None
        study = Study(storage, sweep.name, objective="minority_accuracy", direction="maximize")
        held = store.acquire(sweep.id, lease.here())
        study.sync(store, held, sweep)
        store.release(held)
        study.close()
    return plan.sweep.name


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with a database and the archive of its sweep, and the sweep's name."""
    folder = tmp_path_factory.mktemp("kept")
    url = f"sqlite:///{folder}/first.db"
    name = stored(small(), url)
    with Store.open(url, create=False) as store, (folder / FILE).open("wb") as file:
        whole.write(store, name, file)
    return folder, name


@pytest.fixture
def archived(imports: Imports, kept: tuple[Path, str]) -> str:
    """The same in the working folder."""
    shutil.copytree(kept[0], imports.folder, dirs_exist_ok=True)
    return kept[1]


def everything(storage: str, name: str) -> dict[str, list[rows.Row]]:
    """All rows of a sweep, by table."""

    with Store.open(storage, create=False) as store:
        sweep = store.sweep(name)
        assert sweep is not None
        ident = sweep.id

        def read(connection: Connection) -> dict[str, list[rows.Row]]:
            return {
                rows.name_of(table): [
                    row for part in rows.chunks(connection, table, ident) for row in part
                ]
                for table in rows.TABLES
            }

        return store.database.read(read)


def report(storage: str, name: str) -> str:
    from sweeper.analysis.frames import load

    with Store.open(storage, create=False) as store:
        return page.html(load(store, name))


def trials(storage: Any, name: str) -> list[dict[str, Any]]:
    """The trials of a study, without what a storage numbers by itself."""
    found = optuna.load_study(study_name=name, storage=storage).trials
    parts = ("number", "state", "values", "params", "distributions", "user_attrs", "system_attrs")
    parts += ("intermediate_values", "datetime_start", "datetime_complete")
    return [{part: getattr(one, part) for part in parts} for one in found]


def test_an_archive_comes_back_bit_for_bit(imports: Imports) -> None:
    """In an empty database: every row, the report's bytes, and the studies."""
    losses = {(1, 1): (Ending.DIVERGED, "ValueError: é\nnan")}
    name = stored(planted.everything(failures=losses, replicates=3, epochs=2))
    assert imports.run("archive", name, "--storage", FIRST, "--out", FILE)[0] == 0
    assert imports.run("import", FILE, "--storage", SECOND)[0] == 0
    before, after = everything(FIRST, name), everything(SECOND, name)
    assert before == after
    assert all(before[table] for table in ("sweep", "cell", "run", "pack", "attempt"))
    assert len(before["observation"]) >= 6
    assert report(FIRST, name) == report(SECOND, name)
    with zipfile.ZipFile(FILE) as archive:
        assert archive.read("report.html").decode() == report(FIRST, name)
    assert trials(FIRST, name) == trials(SECOND, name) != []


def test_optuna_and_pandas_read_an_archive_by_themselves(archived: str, tmp_path: Path) -> None:
    """The journal with the trials, and the rows as tables; a manifest with the hashes."""
    name = archived
    with zipfile.ZipFile(FILE) as archive:
        archive.extractall(tmp_path / "out")  # as a user would
        manifest = json.loads(archive.read("manifest.json"))
    journal = JournalStorage(JournalFileBackend(str(tmp_path / "out" / "optuna.log")))
    assert trials(journal, name) == trials(FIRST, name)
    runs = pd.read_parquet(tmp_path / "out" / "rows" / "run.parquet")
    assert sorted(runs["value"].dropna()) == sorted(
        row["value"] for row in everything(FIRST, name)["run"] if row["value"] is not None
    )
    assert manifest["rows"]["run"] == len(runs)
    assert set(manifest["files"]) == {
        str(path.relative_to(tmp_path / "out"))
        for path in (tmp_path / "out").rglob("*") if path.is_file()
    } - {"manifest.json"}  # fmt: skip


def test_an_archive_joins_other_sweeps(imports: Imports, archived: str) -> None:
    """With other ids in the same order; under another name if it is asked for; once."""
    name = archived
    stored(small(name="there"), SECOND)
    for _ in range(2):  # the second time it is there already
        assert imports.run("import", FILE, "--storage", SECOND)[0] == 0
    code, _, err = imports.run("import", FILE, "--storage", SECOND, "--name", "there")
    assert (code != 0, "is in this database already" in err) == (True, True)
    assert imports.run("import", FILE, "--storage", SECOND, "--name", "copy")[0] == 0
    with Store.open(SECOND, create=False) as store:
        assert [one.name for one in store.sweeps()] == ["there", name, "copy"]
    ids = [row["id"] for one in ("there", name, "copy") for row in everything(SECOND, one)["run"]]
    assert sorted(ids) == ids
    assert len(set(ids)) == len(ids)
    values = [row["value"] for row in everything(FIRST, name)["run"]]
    for one in (name, "copy"):
        assert [row["value"] for row in everything(SECOND, one)["run"]] == values
        assert trials(SECOND, one) == trials(FIRST, name)
    again = stored(small(name="new"), SECOND)  # ids go on behind them
    assert min(row["id"] for row in everything(SECOND, again)["run"]) > max(ids)


def test_a_sweep_that_was_cut_off_goes_on_elsewhere(imports: Imports) -> None:
    """Runs that are open stay open, and a driver takes the sweep under a new lease."""
    left = {(0, 0): (None, ""), (1, 1): (None, "")}
    name = stored(small(failures=left))
    imports.run("archive", name, "--storage", FIRST, "--out", FILE)
    imports.run("import", FILE, "--storage", SECOND)
    with Store.open(SECOND, create=False) as store:
        sweep = store.sweep(name)
        assert sweep is not None
        assert store.counts(sweep.id)[RunState.PENDING] == 2
        assert store.acquire(sweep.id, lease.here()).epoch > 1


def broken(change: Any) -> None:
    """Writes the archive again with some files changed."""
    with zipfile.ZipFile(FILE) as archive:
        files = {one: archive.read(one) for one in archive.namelist()}
    change(files)
    with zipfile.ZipFile(FILE, "w") as archive:
        for one, data in files.items():
            archive.writestr(one, data)


def retold(members: dict[str, bytes], **values: Any) -> None:
    tree = json.loads(members["manifest.json"])
    members["manifest.json"] = json.dumps({**tree, **values}).encode()


def honest(files: dict[str, bytes], member: str, data: bytes) -> None:
    """A file with another content, and its right hash."""
    import hashlib

    tree, files[member] = json.loads(files["manifest.json"]), data
    tree["files"][member] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    retold(files, files=tree["files"])


def other_run(files: dict[str, bytes]) -> None:
    """Attempts of runs that are not there."""
    import io

    import pyarrow.parquet as pq

    table = pq.read_table(io.BytesIO(files["rows/attempt.parquet"]))
    place = table.schema.get_field_index("run_id")
    out = io.BytesIO()
    changed = table.column("run_id").combine_chunks().to_numpy() + 10_000
    pq.write_table(table.set_column(place, table.schema.field(place), [changed]), out)
    honest(files, "rows/attempt.parquet", out.getvalue())


def pickled(files: dict[str, bytes]) -> None:
    line = '{"op_code": 3, "worker_id": "x", "study_id": 0, "system_attr": {"cma:optimizer": "80"}}'
    honest(files, "optuna.log", files["optuna.log"] + f"{line}\n".encode())


@pytest.mark.usefixtures("archived")
def test_a_broken_archive_changes_nothing(imports: Imports) -> None:
    """It is refused in a line, and the database has no part of it."""
    whole_one = Path(FILE).read_bytes()
    cases: list[tuple[Any, str]] = [
        (lambda f: f.update({"rows/run.parquet": f["rows/run.parquet"][:-9]}), "is damaged"),
        (lambda f: f.pop("rows/run.parquet"), "cannot be read"),
        (lambda f: retold(f, archive=2), "newer Sweeper"),
        (lambda f: retold(f, files={}), "cannot be read"),
        (lambda f: honest(f, "rows/run.parquet", f["rows/cell.parquet"]), "other columns"),
        (lambda f: honest(f, "rows/run.parquet", b"PAR1"), "is broken"),
        (lambda f: honest(f, "optuna.log", b"{}\n"), "Optuna cannot read"),
        (other_run, "table attempt: run_id"),
        (pickled, "has a pickle in it"),
    ]
    for change, said in cases:
        Path(FILE).write_bytes(whole_one)
        broken(change)
        assert whole.is_archive(Path(FILE))
        code, _, err = imports.run("import", FILE, "--storage", SECOND)
        lines = [line for line in err.splitlines() if line.startswith("sweeper: ")]
        assert (code != 0, said in err, len(lines)) == (True, True, 1), err
        if Path("second.db").exists():
            with Store.open(SECOND, create=True) as store:
                assert store.sweeps() == []


def test_what_is_there_is_not_overwritten(imports: Imports) -> None:
    """But with --force; and options for tables are refused."""
    name = stored(small())
    words = ("archive", name, "--storage", FIRST, "--out", FILE)
    assert [imports.run(*words)[0], imports.run(*words)[0]] == [0, 2]
    assert imports.run(*words, "--force")[0] == 0
    assert imports.run("archive", name, "--storage", FIRST, "--out", "no/x")[0] == 2
    assert imports.run("import", FILE, "--factor", "x")[0] == 2


def test_a_restored_backup_is_safe_from_those_who_wrote_after_it(
    imports: Imports, tmp_path: Path
) -> None:
    """A driver and a supervisor of the later database write no more; new ones may."""
    from store_samples import HOLDER

    from sweeper.errors import LeaseLost
    from sweeper.store.leading import Leading

    stored(small())
    with Store.open(FIRST, create=False) as store:
        [sweep] = store.sweeps()
        held = store.acquire(sweep.id, HOLDER)
        lead = Leading(store.database).take(HOLDER)
    shutil.copy("first.db", "backup.db")  # as a backup does, with nothing running
    with Store.open(FIRST, create=False) as store:
        later, last = held, lead
        for number in range(3):  # others have taken both over since
            store.release(later)
            Leading(store.database).release(last)
            holder = {**HOLDER, "pid": number}
            later, last = store.acquire(sweep.id, holder), Leading(store.database).take(holder)
    shutil.copy("backup.db", "first.db")
    for more in Path().glob("first.db-*"):
        more.unlink()
    assert imports.run("restored", "--storage", FIRST)[0] == 2  # it asks
    code, out, _ = imports.run("restored", "--storage", FIRST, "--yes")
    assert (code, "of 1 sweeps were raised" in out) == (0, True)
    with Store.open(FIRST, create=False) as store:
        for old in (held, later):
            with pytest.raises(LeaseLost):
                store.beat(old)
        for before in (lead, last):
            with pytest.raises(LeaseLost):
                Leading(store.database).beat(before)
        assert store.acquire(sweep.id, HOLDER).epoch == held.epoch + STEP + 1
        assert Leading(store.database).take(HOLDER).epoch == lead.epoch + STEP + 1
    assert imports.run("restored", "--storage", THIRD, "--yes")[0] != 0
