"""The page as text: what is in it, what must not be, and where it may be written."""

import re
from dataclasses import replace
from html import unescape

import planted
import pytest

from sweeper import spec
from sweeper.analysis.frames import load
from sweeper.analysis.view import view_of
from sweeper.drawing.redact import scrub, scrub_spec, scrub_tree
from sweeper.errors import InputError, StoreError
from sweeper.report import page
from sweeper.report.overrides import overrides
from sweeper.states import Ending
from sweeper.store.store import Store
from sweeper.topics.headline.note import note
from sweeper.topics.recommendation import text as recommendation
from sweeper.topics.recommendation.estimate import recommend
from sweeper.topics.training_curves import section as training
from trainers import catalogue
from trainers.blocks import Block

SECRETS = ("alice", "hunter2", "postgresql", "/home", "/mnt", "C:\\Users", "bighost")


def html(**settings):
    plan = planted.plan(**settings)
    return page.html(load(planted.Memory(plan), plan.sweep.name))


def visible(text):
    """The page without its scripts."""
    return re.sub(r"<script.*?</script>", "", text, flags=re.S)


@pytest.fixture(scope="module")
def full():
    return html(
        failures={(3, 1): (Ending.DIVERGED, "the loss is nan"), (7, 4): (Ending.PRUNED, "")}
    )


def test_a_real_database_gives_the_same_page_as_its_records(tmp_path):
    """From SQLite: same headline, same tables."""
    plan = planted.plan(replicates=3, failures={(2, 1): (Ending.DIVERGED, "nan")})
    with Store.open(f"sqlite:///{tmp_path / 'sweeper.db'}", create=True) as store:
        out = page.write(store, planted.fill(store, plan), out=tmp_path / "report.html")
    one, two = (
        out.read_text(encoding="utf-8"),
        page.html(load(planted.Memory(plan), plan.sweep.name)),
    )
    for part in ('<p class="headline">', "<h1>", "<caption>Cells"):
        assert between(one, part) == between(two, part)


def between(text, start):
    at = text.index(start)
    return text[at : at + 400]


def test_the_page_is_small_and_holds_the_bundle_once(full):
    """Under 2.5 MB, one copy of plotly."""
    assert len(full.encode()) < 2_500_000
    assert full.count("plotly.js (cartesian - minified)") == 1


def test_the_policy_allows_these_scripts_and_nothing_else(full):
    """default-src 'none'; the scripts by hash; no network."""
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', full)
    assert policy.startswith("default-src &#39;none&#39;; script-src &#39;sha256-")
    assert "connect-src &#39;none&#39;" in policy
    assert "unsafe-eval" not in policy


@pytest.mark.parametrize(
    "part",
    [
        "the runs suggest batch size ",
        "falls at batch size",
        "95 % t interval over the complete replicates",
        "test split",
        "used for selection only",
        "learning rate (picked)",
        "the loss is nan",
        "1 diverged",
        "1 of 40 runs failed",
        "1 of 40 runs were pruned",
        "data fingerprint",
        "simultaneous",
        "<dt>interaction</dt>",
    ],
)
def test_the_page_says(full, part):
    """Verdict, methods, picks, failures, provenance, glossary."""
    assert part in visible(full)


def test_every_figure_has_a_text_alternative_and_a_table(full):
    """role=img with a label; a table in each section that holds a figure."""
    shown = visible(full)
    assert shown.count('role="img" aria-label="') == shown.count("data-figure=")
    for section in re.findall(r"<section.*?</section>", shown, flags=re.S):
        if "data-figure=" in section and 'class="answer"' not in section:
            assert "<table>" in section


@pytest.mark.parametrize(
    ("left", "text"),
    [({(c, r) for c in range(8) for r in (1, 2)}, "Partial: 8 of 24 runs finished"), (set(), None)],
)
def test_a_partial_sweep_says_so_at_the_top(left, text):
    """A complete sweep has no such line."""
    shown = visible(html(replicates=3, failures=dict.fromkeys(left, (None, ""))))
    assert ("Partial:" in shown) == (text is not None)
    if text:
        assert shown.index(text) < shown.index("The answer")


def test_few_replicates_are_called_suggestive_at_the_top():
    """With n = 3 nothing is told to take: the runs only suggest it."""
    shown = visible(html(replicates=3, noise=0.002))
    [headline] = re.findall(r'class="headline">(.*?)</p>', shown)
    assert "the runs suggest batch size 2." in headline
    assert "n = 3" in headline.replace("\N{NO-BREAK SPACE}", " ")


def test_no_machine_person_or_address_is_in_the_page():
    """Spec, error texts and provenance are scrubbed; a path keeps its last part."""
    spec = (
        "data: {dataset: npz, path: /home/alice/secret/x.npz}\n"
        "test_path: 'C:\\Users\\alice\\t.npz'\n"
    )
    error = (
        "Traceback\n  File /home/alice/train.py, line 3\n"
        "RuntimeError: /mnt/alice/x.npz at postgresql://alice:hunter2@bighost/db is gone"
    )
    shown = html(
        spec_text=spec, failures={(1, 1): (Ending.ERROR, error)},
        provenance={"git": "79ddc1e", "hostname": "bighost", "argv": ["/home/alice/run.py"],
                    "hardware": {"cpus": 2, "node": "bighost", "driver": "/home/alice/lib.so"}},
    )  # fmt: skip
    for secret in SECRETS:
        assert secret not in visible(shown)
    assert "x.npz" in visible(shown)
    assert "is gone" in visible(shown)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("open /home/a/b/x.npz failed", "open …/x.npz failed"),
        ("in ~/data/x.npz", "in …/x.npz"),
        (r"at C:\Users\a\x.py", "at …/x.py"),
        ("sqlite:////root/s.db is locked", "[address] is locked"),
        ("loss/accuracy and 3/4 stay", "loss/accuracy and 3/4 stay"),
        ("</script>", "</script>"),
        ("cd /root", "cd …"),
    ],
)
def test_paths_and_addresses_are_cut(text, clean):
    """The last part of a path names the file; the rest would identify the machine."""
    assert scrub(text) == clean


def test_a_specs_relative_path_is_cut_too():
    """`path:` values keep their last part, whatever stands before it."""
    assert scrub_spec("path: alice/data/x.npz  # mine") == "path: …/x.npz  # mine"
    assert scrub_spec("{path: x.npz, target: y}") == "{path: x.npz, target: y}"


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ('{path: "/home/jane doe/x.npz", a: 1}', '{path: "…/x.npz", a: 1}'),
        ("path: '/a/it''s mine/d'", "path: '…/d'"),
        ("path: /home/jane doe/x.npz  # mine\na: 1", "path: …/x.npz  # mine\na: 1"),
        ("path: >\n  /home/jane doe/x\na: 1", "path: >\n  …/x\na: 1"),
        ("path:\ntarget: a/b", "path:\ntarget: a/b"),
        ("test_path: null", "test_path: null"),
    ],
)
def test_a_path_with_spaces_is_cut_whole(text, clean):
    """In every form that YAML allows: a user's name may stand around the space."""
    assert scrub_spec(text) == clean


def test_a_reason_to_halt_names_no_path():
    """The state's reason may quote an error."""
    plan = planted.plan(replicates=2, failures={(0, 0): (None, "")})
    frames = load(planted.Memory(plan), plan.sweep.name)
    sweep = replace(frames.sweep, state_reason="halted: /home/alice/x.npz is gone")
    shown = visible(page.html(replace(frames, sweep=sweep)))
    assert "…/x.npz is gone" in shown
    assert "alice" not in shown


def test_what_was_set_on_the_command_line_stands_beside_the_specs_text():
    """The text alone would claim other epochs than were run; no path is shown."""
    text = (
        "name: n\ndata: {dataset: npz, path: x.npz}\ntrain: {epochs: 12}\n"
        "scientific: {train.batch_size: [2, 8], train.lr: [0.1, 0.2]}\n"
    )
    given = ("train.epochs=6", "scientific.train.batch_size=[2, 4]", "data.path=/home/alice/y.npz")
    plan = planted.plan(replicates=2, spec_text=text)
    frames = load(planted.Memory(plan), plan.sweep.name)
    run = spec.parse(text, "s", given).model_dump(mode="json")
    assert overrides(replace(frames.sweep, spec=run)) == [
        "train.epochs: 6 (in the text: 12)",
        "scientific.train.batch_size: [2, 4] (in the text: [2, 8])",
    ]
    shown = visible(page.html(replace(frames, sweep=replace(frames.sweep, spec=run))))
    assert "<li>train.epochs: 6 (in the text: 12)</li>" in shown
    same = spec.parse(text).model_dump(mode="json")
    assert overrides(replace(frames.sweep, spec=same)) == []
    chosen = {**same, "train": {**same["train"], "evaluations": 8}}
    assert overrides(replace(frames.sweep, spec=chosen)) == [], "the launch chose it, nobody set it"
    looks = spec.parse(text, "s", ["replicates={looks: [5, 10]}"]).model_dump(mode="json")
    assert overrides(replace(frames.sweep, spec=looks)) == [
        'replicates: {"looks": [5, 10]} (in the text: 5)'
    ]
    assert overrides(replace(frames.sweep, spec=run, spec_text="no spec")) == []


@pytest.mark.parametrize(
    "part",
    [
        "train: {mine: {strength: 2}}\nscientific: {train.lr: [0.1, 0.2]}\n",
        "scientific: {train.mine.strength: [1, 2]}\n",
    ],
)
def test_what_was_set_does_not_depend_on_a_loaded_plug_in(part, monkeypatch):
    """`sweeper verify` makes the page of a plug-in's sweep again without the plug-in."""
    plan = planted.plan(replicates=2, spec_text=f"name: n\nbudget: epochs\n{part}")
    frames = load(planted.Memory(plan), plan.sweep.name)
    without = overrides(frames.sweep)
    monkeypatch.setattr(catalogue, "_ENTRIES", dict(catalogue._ENTRIES))
    mine = type("Mine", (Block,), {"__annotations__": {"strength": float}, "strength": 1.0})
    catalogue.add(catalogue.Entry("loss", "mine", object, parameters=mine))
    now = spec.parse(frames.sweep.spec_text, "s", ["train.epochs=5"]).model_dump(mode="json")
    assert overrides(replace(frames.sweep, spec=now)) == without == []


def test_training_curves_show_the_cells_that_are_compared():
    """Cells of another budget are left out of them as of every comparison."""
    plan = planted.plan(replicates=2, levels={planted.BATCH: [2, 8, 32]})
    plan.cells[2].config["train"]["epochs"] = 99
    frames = load(planted.Memory(plan), plan.sweep.name)
    found = view_of(frames)
    table = training.table(found)
    assert table is not None
    assert [row[0] for row in table.rows] == ["2", "8"]
    assert "4 runs" in training.panels(found)[0].title


def test_the_ends_of_training_curves_stand_in_the_order_of_the_levels():
    """Numbers by size, and a level that looks like another keeps its place in the data."""
    plan = planted.plan(replicates=1, levels={planted.BATCH: [2, 8, 32, 128]})
    frames = load(planted.Memory(plan), plan.sweep.name)
    table = training.table(view_of(frames))
    assert table is not None
    assert [row[0] for row in table.rows] == ["2", "8", "32", "128"]


def test_training_curves_have_the_evaluated_epochs_alone():
    """Epochs between two evaluations leave no hole in a line, and a run that ends there none."""
    plan = planted.plan(replicates=2, epochs=9, levels={planted.BATCH: [2, 8, 32]},
                        failures={(1, 1): (Ending.DIVERGED, "the loss is nan")})  # fmt: skip
    frames = load(planted.Memory(plan), plan.sweep.name)
    frames = replace(frames, curves=frames.curves[frames.curves["epoch"] % 3 == 0])
    for figure in training.panels(view_of(frames)):
        lines = [one for one in figure.data if one.get("mode") == "lines+markers"]
        assert len(lines) in (3, 6)
        for line in lines:
            assert line["x"] == [3, 6, 9]
            assert None not in line["y"]
    runs = training.panels(view_of(frames))[0].runs
    assert runs is not None
    assert runs.x == [3, 6, 9]


def test_keys_that_name_a_machine_are_left_out():
    """At any depth."""
    tree = {"git": "abc", "host": "h", "hardware": {"cpus": 4, "hostname": "h", "gpus": ["A", "B"]}}
    assert scrub_tree(tree) == {"git": "abc", "hardware": "cpus 4, gpus A, B"}


def test_an_old_report_is_replaced_and_another_file_is_not(tmp_path):
    """A report that Sweeper wrote is its own to replace; anything else needs --force."""
    plan = planted.plan(replicates=2)
    store, out = planted.Memory(plan), tmp_path / "report.html"
    page.write(store, plan.sweep.name, out=out)
    page.write(store, plan.sweep.name, out=out)
    out.write_text("<html>mine</html>")
    with pytest.raises(InputError, match="not a Sweeper report; --force"):
        page.write(store, plan.sweep.name, out=out)
    assert out.read_text() == "<html>mine</html>"
    page.write(store, plan.sweep.name, out=out, force=True)
    assert page.is_report(out)
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_link_is_not_followed(tmp_path):
    """A symbolic link is not a report, and with --force the link goes, not its target."""
    plan = planted.plan(replicates=2)
    target, out = tmp_path / "target.html", tmp_path / "report.html"
    page.write(planted.Memory(plan), plan.sweep.name, out=target)
    before = target.read_bytes()
    out.symlink_to(target)
    with pytest.raises(InputError, match="--force"):
        page.write(planted.Memory(plan), plan.sweep.name, out=out)
    page.write(planted.Memory(plan), plan.sweep.name, out=out, force=True)
    assert target.read_bytes() == before
    assert not out.is_symlink()


def test_a_failing_report_leaves_the_old_one_whole(tmp_path, monkeypatch):
    """Written beside it and moved: an error on the way changes nothing."""
    plan = planted.plan(replicates=2)
    out = tmp_path / "report.html"
    page.write(planted.Memory(plan), plan.sweep.name, out=out)
    before = out.read_bytes()

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(page.os, "fsync", full_disk)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        page.write(planted.Memory(plan), plan.sweep.name, out=out)
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("place", "message"),
    [("", "is a folder; name a file"), ("missing/report.html", "does not exist")],
)
def test_a_place_that_cannot_be_written_is_named(tmp_path, place, message):
    """One line, before anything is computed."""
    plan = planted.plan(replicates=2)
    with pytest.raises(InputError, match=message):
        page.write(planted.Memory(plan), plan.sweep.name, out=tmp_path / place)


def test_an_unknown_sweep_is_named_with_its_nearest():
    """A typing error gets a suggestion."""
    plan = planted.plan(replicates=2)
    with pytest.raises(StoreError, match="did you mean 'batch-size-digits'"):
        load(planted.Memory(plan), "batch-size-digit")


def test_the_note_is_markdown_in_which_free_text_is_only_text():
    """Bold question, headline, estimates as a list; HTML and links are escaped."""
    plan = planted.plan(question="<b>[x](javascript:alert(1))</b> & `y`?")
    told = note(view_of(load(planted.Memory(plan), plan.sweep.name)))
    assert told.startswith(r"**\<b\>\[x\]\(javascript:alert\(1\)\)\</b\> \& \`y\`?**")
    assert "take batch size 2" in told
    assert "\n- 128: " in told
    assert "40 of 40 runs complete" in told


def test_repeated_samples_stand_under_before_you_rely_on_this():
    """Whoever reads the numbers must know that test samples were trained on."""
    plan = planted.plan(replicates=3)
    repeats = {"train": 0, "val": 0, "test": 0, "val_in_train": 0, "test_in_others": 12}
    facts = plan.sweep.facts | {
        "repeats": repeats,
        "counts": {"train": [90], "val": [20], "test": [48]},
        "left_out": {"<b>rare</b>": 3},
    }
    plan = replace(plan, sweep=replace(plan.sweep, facts=facts))
    text = page.html(load(planted.Memory(plan), plan.sweep.name))
    section = text[text.index("Before you rely on this") :]
    assert "12 of 48 (25 %) test samples are equal to a training or validation sample" in section
    assert "1 class is left out" in section
    assert "<b>rare" not in section


def test_the_page_has_the_configuration_that_sweeper_best_gives():
    """The same YAML, and the command that makes it again."""
    plan = planted.plan()
    made = recommend(view_of(load(planted.Memory(plan), plan.sweep.name)))
    shown = unescape(visible(html()))
    assert recommendation.text(made) in shown
    assert f"<code>{recommendation.command(made)}</code>" in shown
    assert f"n = {made.test[0][1].n}" in shown.replace("\N{NO-BREAK SPACE}", " ")


def test_the_page_says_why_nothing_is_recommended():
    """Without a complete run, one sentence takes its place."""
    shown = visible(html(replicates=1, failures={(cell, 0): (None, "") for cell in range(8)}))
    fold = shown[shown.index('id="recommended"') :]
    assert "has no complete run to recommend from" in fold[: fold.index("</details>")]
    assert "<pre" not in fold[: fold.index("</details>")]


def test_the_page_names_the_worst_class_at_the_level_to_take():
    """By hand: the lowest mean recall at batch size 2, at the strongest imbalance."""
    plan = planted.with_recalls(planted.plan(), lambda factors, label: 0.9 - 0.05 * (label == 3))
    frames = load(planted.Memory(plan), plan.sweep.name)
    recall = 100 * frames.numbers["test", "recall", "class:3"]
    mean = recall[frames.runs.index[frames.runs["cell"] == 2]].mean()
    shown = visible(page.html(frames)).replace("\N{NO-BREAK SPACE}", " ")
    assert f"Worst class at batch size 2: 3, recall {mean:.1f} % (" in shown


def test_the_data_have_the_name_that_one_would_say():
    """Not a file's name, and the number of classes."""
    assert "<dd>digits (scikit-learn), 10 classes</dd>" in visible(html())
    one = planted.plan()
    one.sweep.spec["data"] = {"dataset": "npz", "path": "data/skin lesions.npz"}
    frames = load(planted.Memory(one), one.sweep.name)
    assert "<dd>skin lesions, 10 classes</dd>" in visible(page.html(frames))
