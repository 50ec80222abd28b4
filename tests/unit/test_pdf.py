"""Figures as PDF and tables in LaTeX: drawn from the same traces, and safe to compile."""

import re
import sys

import numpy as np
import planted
import pytest
from matplotlib.container import ErrorbarContainer
from matplotlib.patches import Rectangle

from sweeper.analysis.frames import load
from sweeper.cli.app import run
from sweeper.drawing.figure import Figure, Mark
from sweeper.drawing.table import Table
from sweeper.errors import InputError
from sweeper.report import pdf as paper


def figure(data, **layout):
    return Figure("f", "a title", "alt", data, layout, (Mark("a", "@level0", "circle", "dash"),))


def axes(one):
    from matplotlib.figure import Figure as Canvas

    drawn = Canvas().add_subplot()
    paper.draw(drawn, one)
    return drawn


def test_a_sweep_gives_a_pdf_a_figure_and_the_tables(tmp_path):
    """Each figure of the page, small, without a date; files of before are replaced."""
    plan = planted.plan(levels={"train.augmentation": ["none", "$x_1$ & <b>"]}, replicates=2)
    frames = load(planted.Memory(plan), plan.sweep.name)
    files = paper.write(frames, tmp_path / "out")
    again = {path: path.read_bytes() for path in files}
    assert paper.write(frames, tmp_path / "out") == files
    assert {path: path.read_bytes() for path in files} == again
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        path.name for path in files
    )
    pdfs = [data for path, data in again.items() if path.suffix == ".pdf"]
    assert len(pdfs) >= 4
    assert all(one.startswith(b"%PDF") and len(one) < 100_000 for one in pdfs)
    assert not any(b"CreationDate" in one for one in pdfs)
    assert r"\$x\_1\$ \& \textless{}b\textgreater{}" in again[files[-1]].decode()


def test_lines_marks_and_bars_are_where_the_page_has_them():
    """Points, gaps, error bars, ticks, range and title."""
    trace = {
        "type": "scatter", "mode": "lines+markers", "x": [1, 2, None], "y": [3.0, None, 5.0],
        "line": {"color": "@level1", "dash": "dot"}, "marker": {"color": "@ramp:1", "size": 8},
        "error_y": {"array": [1.0, None, 0.0], "arrayminus": [0.5, None, 0.0]},
    }  # fmt: skip
    drawn = axes(figure([trace], xaxis={"tickvals": [1, 2], "ticktext": ["one", "a &amp; b"],
                                        "range": [0, 3], "title": {"text": "x<br>y"}}))  # fmt: skip
    line, marks = drawn.lines[:2]
    assert line.get_color() == "#8a7a00"
    assert np.asarray(line.get_ydata())[0] == 3.0
    assert marks.get_markerfacecolor() == "#e58bb4"
    assert drawn.get_xlim() == (0, 3)
    assert [one.get_text() for one in drawn.get_xticklabels()] == ["one", "a & b"]
    assert drawn.get_xlabel() == "x\ny"
    assert drawn.get_title(loc="left") + drawn.get_title() == "A title"
    bars = drawn.containers[0]
    assert isinstance(bars, ErrorbarContainer)
    assert bars.has_yerr


def test_words_on_an_axis_keep_their_order():
    """Equal to the page, with heat maps from the bottom up."""
    trace = {"type": "scatter", "mode": "markers", "x": ["b", "a"], "y": ["r", "r"]}
    order = {"type": "category", "categoryarray": ["a", "b", "c"]}
    drawn = axes(figure([trace], xaxis=order, yaxis={"type": "category"}))
    assert [one.get_text() for one in drawn.get_xticklabels()] == ["a", "b", "c"]
    assert np.asarray(drawn.lines[0].get_xdata()).tolist() == [1.0, 0.0]


def test_stacked_bars_lie_end_to_end():
    """The second begins where the first ends."""
    bars = [{"type": "bar", "orientation": "h", "x": [size], "y": ["cell"],
             "marker": {"color": "@level0"}} for size in (2.0, 3.0)]  # fmt: skip
    drawn = axes(figure(bars))
    drawn_bars = [one for one in drawn.patches[:2] if isinstance(one, Rectangle)]
    assert [(one.get_x(), one.get_width()) for one in drawn_bars] == [(0.0, 2.0), (2.0, 3.0)]


def test_latex_has_no_sign_left_that_it_would_obey():
    """A level named like a command is text."""
    evil = "\\input{/etc/passwd} 50% & $x$ #1 _a ^b ~c {d} <e>\n\N{MINUS SIGN}1"
    made = paper.latex(Table("a_b", (evil,), ((evil,),), frozenset(), "c%"), label="t")
    assert r"\input{" not in made
    for row in made.splitlines():
        assert "&" not in row.replace(r"\&", "")
        assert "%" not in row.replace(r"\%", "")
    assert made.count(r"\begin{table}") == made.count(r"\end{table}") == 1
    assert re.search(r"\\toprule\n.*\\\\\n\\midrule\n.*\\\\\n\\bottomrule", made)


def test_without_matplotlib_the_way_out_is_named(monkeypatch, tmp_path, capsys):
    """Before the database is opened; exit 2, one line."""
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"pip install 'sweeper\[figures\]'"):
        paper.check()
    assert run(["report", "--figures", "pdf", "--storage", f"sqlite:///{tmp_path}/no.db"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_another_format_is_refused(tmp_path, capsys):
    """The only format is named."""
    assert run(["report", "--figures", "png", "--storage", f"sqlite:///{tmp_path}/no.db"]) == 2
    assert "valid: pdf" in capsys.readouterr().err
