"""`sweeper verify`: an untouched report passes, and a change anywhere in one is found."""

import random
import re

import planted
import pytest

from sweeper import __version__
from sweeper.cli.app import run
from sweeper.errors import InputError
from sweeper.report import page, verify
from sweeper.states import Ending

ZERO, MANY = "0123456789", 40


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    plan = planted.plan(failures={(3, 1): (Ending.DIVERGED, "the loss is nan")})
    out = tmp_path_factory.mktemp("verify") / "report.html"
    return page.write(planted.Memory(plan), plan.sweep.name, out=out)


@pytest.fixture(scope="module")
def text(written):
    return written.read_text(encoding="utf-8")


def changed(written, text, tmp_path):
    out = tmp_path / "changed.html"
    out.write_text(text, encoding="utf-8", newline="")
    return verify.verify(out)


def test_an_untouched_report_passes(written, capsys):
    """Exit 0, one line."""
    assert verify.verify(written).same
    assert run(["verify", str(written)]) == 0
    assert capsys.readouterr().out == f"{written}: every number and word is what its data give\n"


def another_digit(text, at):
    return text[:at] + ZERO[(int(text[at]) + 1) % 10] + text[at + 1 :]


def test_a_digit_changed_outside_the_data_is_found(text):
    """Text, tables, figures, manifest, style, scripts and bundle: 40 places drawn at random.

    Half of them outside the code, which is most of the file.
    """
    rng = random.Random(4)
    start = text.index('id="data">')
    data = range(start, text.index("</script>", start))
    places = [one.start() for one in re.finditer(r"\d", text) if one.start() not in data]
    style = range(text.index("<style>"), text.index("</style>"))
    shown = [at for at in places if at < start and at not in style]
    drawn = rng.sample(places, MANY // 2) + rng.sample(shown, MANY // 2)
    for at in drawn:
        found = list(verify.differences(another_digit(text, at), text))
        assert 1 <= len(found) <= 3
        assert all(len(str(one)) < 600 for one in found)


def test_a_digit_changed_in_the_data_is_found(written, text, tmp_path):
    """The numbers come out otherwise, the sum does not fit, or they cannot be read."""
    rng = random.Random(5)
    start = text.index('id="data">') + 10
    inside = range(start, text.index("</script>", start))
    digits = [at for at in inside if text[at].isdigit()]
    for at in rng.sample(digits, 6):
        try:
            assert not changed(written, another_digit(text, at), tmp_path).same
        except InputError as error:
            assert "its data" in str(error)  # noqa: PT017  either finds it


@pytest.mark.parametrize(
    ("old", "new", "where", "shown", "again"),
    [
        ("falls from", "rises from", "The answer", "rises from", "falls from"),
        ("<td>diverged</td>", "<td>pruned</td>", "Failures", "pruned", "diverged"),
        ('"n":5', '"n":7', None, "", ""),
        ("--ink: #1d232b", "--ink: #1d232c", "code and style", "#1d232c", "#1d232b"),
        ("</footer>", "<p>Signed: nobody</p></footer>", "the end", "Signed", ""),
        ("<footer>", "", "", "", ""),
    ],
)
def test_a_difference_is_told_with_its_section(
    written, text, tmp_path, old, new, where, shown, again
):
    """Section, what is shown, what comes out; nothing where nothing was changed."""
    if where is None:
        assert changed(written, text.replace(old, old), tmp_path).same
        return
    assert old in text
    found = changed(written, text.replace(old, new, 1), tmp_path).differences
    told = "\n".join(map(str, found))
    assert where in told
    assert shown in told
    assert again in told


def test_a_figures_entry_is_named(written, text, tmp_path):
    """Which figure and which entry: the title, not a line of JSON."""
    start = text.index('"y":[', text.index('id="figures"')) + 5
    found = changed(written, another_digit(text, start), tmp_path).differences
    figure, _, entry = str(found[0]).partition('", ')
    assert figure.startswith('figure "minority accuracy (n = 4 to 5;')
    assert entry.startswith("data 0 y 0: shows ")


def test_the_command_lists_differences_and_exits_with_1(text, tmp_path, capsys):
    """A line each on stdout."""
    out = tmp_path / "report.html"
    out.write_text(text.replace("falls from", "rises from"), encoding="utf-8", newline="")
    assert run(["verify", str(out)]) == 1
    assert "rises from" in capsys.readouterr().out


def test_another_version_is_named_and_the_rest_compared(text, tmp_path):
    """Code and style may differ between versions; numbers are compared all the same."""
    old = text.replace(f'"sweeper":"{__version__}","data"', '"sweeper":"0.0.9","data"')
    assert old != text
    found = changed(None, old, tmp_path)
    assert not found.same
    assert found.remark.startswith(f"made by Sweeper 0.0.9, and this is {__version__}")
    assert found.differences == ()
    found = changed(None, old.replace("falls from", "rises from"), tmp_path)
    assert "rises from" in str(found.differences[0])


def test_what_a_terminal_would_obey_is_not_printed(written, text, tmp_path):
    """Escape sequences and marks of direction in a hostile page stay in it."""
    evil = text.replace("falls from", "falls \x1b[2J\u202efrom")
    told = "\n".join(map(str, changed(written, evil, tmp_path).differences))
    assert "falls" in told
    assert not re.search("[\x1b\u202e]", told)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda text: "<html></html>", "is not a Sweeper report"),
        (lambda text: text[: len(text) // 2], "is cut off"),
        (lambda text: text[:3000] + "</html>", "holds no data"),
        (lambda text: re.sub('id="data">.{99}', 'id="data">', text), "its data cannot be read"),
        (lambda text: re.sub('(<script type="application/zip".*?</script>)', r"\1\1", text),
         "holds data more than once"),
    ],
    ids=["foreign", "cut", "no data", "damaged data", "twice"],
)  # fmt: skip
def test_bad_input_is_one_line_and_exit_2(text, tmp_path, capsys, make, message):
    """Not a report, cut off, without data, damaged."""
    out = tmp_path / "report.html"
    out.write_text(make(text), encoding="utf-8", newline="")
    assert run(["verify", str(out)]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1


def test_a_huge_file_is_not_read(tmp_path, capsys):
    """A sparse file of a terabyte: refused by its size."""
    out = tmp_path / "huge.html"
    with out.open("wb") as file:
        file.truncate(10**12)
    assert run(["verify", str(out)]) == 2
    assert "larger than any report" in capsys.readouterr().err
    assert run(["verify", str(tmp_path / "none.html")]) == 2
