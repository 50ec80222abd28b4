"""The sheet: one sweep on one A4 page, as HTML and as PDF."""

import re
import sys

import planted
import pytest
from screened import screened
from visits import framed

from sweeper.analysis.view import view_of
from sweeper.cli.app import run
from sweeper.report import page, pdf, sheet, verify
from sweeper.store.store import Store
from sweeper.topics.headline import text as words

PLANS = {
    "grid": planted.everything,
    "no grid": planted.scattered,
    "random search": planted.searched,
    "screened": screened,
    "nothing": lambda: planted.plan(replicates=1, failures={(c, 0): (None, "") for c in range(8)}),
}
EVIL = "</script><img src=x onerror=alert(1)>"


def sections(text):
    return re.findall(r'<h2 id="(\w+)"', text)


def test_the_sheet_has_the_answer_a_figure_a_table_how_sure_and_the_cost():
    """The answer is that of the whole page; the table has a row a mean of the figure."""
    frames = framed(planted.everything())
    text = sheet.html(frames)
    assert sections(text) == ["answer", "figure", "table", "sure", "cost"]
    assert words.lead(view_of(frames)).headline in text
    assert text.count("<svg") == 1
    assert text.count("<tr><td>") == 6, "3 batch sizes at 2 train ratios"
    assert "22 of 24" in text
    assert "unsafe-inline" not in text
    assert " style=" not in text.partition("<body>")[2]


@pytest.mark.parametrize("name", PLANS)
def test_every_sweep_has_a_sheet_that_verifies(name, tmp_path):
    """Also one without a curve, and one without a result; the same data give the same sheet."""
    frames = framed(PLANS[name]())
    path = page.save(sheet.html(frames), out=tmp_path / "sheet.html")
    assert verify.verify(path).same
    made = pdf.write_sheet(frames, tmp_path / "sheet.pdf").read_bytes()
    assert len(re.findall(rb"/Type\s*/Page\b", made)) == 1
    assert pdf.write_sheet(frames, tmp_path / "again.pdf").read_bytes() == made


def test_a_changed_sheet_is_found(tmp_path):
    """By the number that was changed, in its section."""
    frames = framed(planted.plan(replicates=3))
    text = sheet.html(frames)
    path = page.save(text.replace("24 of 24", "25 of 24"), out=tmp_path / "sheet.html")
    [found] = verify.verify(path).differences
    assert found.where == "What it cost"


def test_hostile_text_is_text(tmp_path):
    """In the question and in a level's name; nothing on the sheet is a script that runs."""
    frames = framed(
        planted.plan(question=EVIL, replicates=3, levels={"train.augmentation": ["none", EVIL]})
    )
    text = sheet.html(frames)
    assert "<img" not in text
    assert "script-src" not in text
    assert set(re.findall(r"<script type=\"([\w/]+)\"", text)) == {
        "application/json",
        "application/zip",
    }
    assert pdf.write_sheet(frames, tmp_path / "sheet.pdf").exists()


@pytest.fixture
def storage(tmp_path):
    address = f"sqlite:///{tmp_path}/sweeper.db"
    with Store.open(address, create=True) as store:
        planted.fill(store, planted.plan(replicates=3))
    return address


def test_the_command_writes_both_files(storage, tmp_path, monkeypatch, capsys):
    """Beside each other, and prints their paths."""
    monkeypatch.chdir(tmp_path)
    assert run(["report", "--one-page", "--storage", storage]) == 0
    names = ["batch-size-digits-one-page.html", "batch-size-digits-one-page.pdf"]
    assert capsys.readouterr().out.split() == names
    assert all((tmp_path / name).stat().st_size > 5000 for name in names)


def test_without_matplotlib_the_command_writes_the_page_alone(
    storage, tmp_path, monkeypatch, capsys
):
    """And says what the PDF needs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert run(["report", "--one-page", "--storage", storage, "--out", "s.html"]) == 0
    said = capsys.readouterr()
    assert said.out.split() == ["s.html"]
    assert "pip install 'sweeper[figures]'" in said.err
    assert not (tmp_path / "s.pdf").exists()


@pytest.mark.parametrize("more", [["--figures", "pdf"], ["one", "two"]])
def test_the_command_refuses_what_a_sheet_cannot_be(storage, more, capsys):
    """Several sweeps, and the figures of a paper."""
    assert run(["report", "--one-page", "--storage", storage, *more]) == 2
    assert "--one-page is for one sweep" in capsys.readouterr().err
