"""The live pages as HTML and the files that they load, from the report's templates and colours."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sweeper.analysis.frames import Frames
from sweeper.drawing.redact import scrub
from sweeper.report import archive as carry
from sweeper.report import page as report
from sweeper.store.glance import Pulse
from sweeper.topics.headline.progress import table
from sweeper.topics.headline.text import lead
from sweeper.watch import regions as said
from sweeper.watch.answer import Answer
from sweeper.watch.board import PageBoard
from sweeper.watch.listing import SHOWN, SweepLine
from sweeper.watch.progress import WholePlan
from sweeper.watch.regions import Around

TEMPLATES = Path(__file__).parent / "templates"
# One page, one script: the report's own files, and then what keeps the page up to date.
SCRIPTS = (*report.SCRIPTS, "morph.js", "squares.js", "live.js")
STYLES = ("page.css", "live.css")
ENDED = ("complete", "take-over", "decision")  # events that are no loss
# The pages load files of this server alone; no script and no style may stand in a page.
POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self' {report.source('')}; img-src data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
BEHIND = (
    ("recommended", "To use"),
    ("method", "Reading"),
    ("methods", "Methods"),
    ("provenance", "Provenance"),
)
WAITING = "The figures are being drawn."


@dataclass(frozen=True)
class Asset:
    """A file that pages load, as it is and compressed."""

    kind: str
    plain: bytes
    packed: bytes


@dataclass(frozen=True)
class Drawn:
    """What is drawn when a run ends: answer, sections and contents as HTML, and the figures.

    When no run is to come, `answer` is the whole main part of the report.
    """

    answer: str
    sections: str
    contents: str
    figures: Sequence[Mapping[str, Any]]
    ended: bool

    @property
    def regions(self) -> dict[str, str]:
        return {"answer": self.answer, "sections": self.sections, "contents": self.contents}


@cache
def environment() -> Environment:
    """The templates of the live pages, over those of the report."""
    made = Environment(
        loader=ChoiceLoader([PackageLoader("sweeper.watch"), PackageLoader("sweeper.report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["commands"] = report.commands
    made.filters["moment"] = moment
    made.filters["of_day"] = of_day
    made.filters["tone"] = tone
    return made


def moment(at: float) -> str:
    """Seconds since 1970 as a machine reads them."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def of_day(at: float) -> str:
    """The time of day here; a page's script shows the reader's own."""
    return datetime.fromtimestamp(at).astimezone().strftime("%H:%M:%S")


def tone(kind: str) -> str:
    """The colour of an event."""
    return "" if kind in ENDED else "worse"


def regions_of(
    planned: WholePlan,
    pulse: Pulse,
    *,
    heard: Mapping[int, float],
    workers: int,
    hosts: bool,
    where: str,
    around: Around = Around.NOTHING,
) -> dict[str, str]:
    """The parts of a page that change with what is recorded.

    Args:
        heard: when each pack in hand was last heard of.
        workers: how many were seen lately.
        hosts: whether machines and processes may be named.
        where: the option that names the database in commands.
        around: which other pages and commands there are.
    """
    macros: Any = environment().get_template("regions.html").module
    hands = said.machines(planned, hosts=hosts, heard=heard)
    return {
        "progress": str(macros.progress(said.progress(planned, pulse, workers=workers))),
        "machines": str(macros.machines(hands)),
        "events": str(macros.events(said.events(planned))),
        "commands": str(
            macros.commands(said.commands(planned, where=where, holder=hosts, around=around))
        ),
    }


def banner(planned: WholePlan, pulse: Pulse, *, around: Around = Around.NOTHING) -> str:
    """What a reader must see first; it changes when a driver falls silent, too."""
    macros: Any = environment().get_template("regions.html").module
    saved = f"{quote(planned.glance.sweep.name)}/report"
    return str(macros.banner(said.banners(planned, pulse, around=around), saved))


def away(error: str) -> str:
    """The banner of a database that does not answer."""
    macros: Any = environment().get_template("regions.html").module
    return str(
        macros.banner([said.Banner("bad", f"{scrub(error)}. What is shown may be old.")], "")
    )


def foot(pulse: Pulse, *, number: int, alive: bool) -> str:
    """The time of the data, and the driver's last beat."""
    macros: Any = environment().get_template("regions.html").module
    return str(macros.foot(pulse.at, number, pulse.beat, alive))


def not_drawn() -> Drawn:
    """What stands there before the first figures are drawn."""
    return Drawn(
        f'<p class="note" id="answer">{WAITING}</p>', "", _links([], ended=False), (), False
    )


def drawn(answer: Answer) -> Drawn:
    """The answer and the sections of a sweep that goes on."""
    view, parts = answer.view, [section for _, section in answer.shown]
    values: dict[str, Any] = {
        "lead": lead(view),
        "lines": (),
        "caution": report.caution_of(view),
        "progress": table(view),
        "facts": report.facts(view.frames),
        "heading": "If you stopped now",
        "early": True,
        "look_taken": answer.look,
        "sections": parts,
        "opened": {section.id for topic, section in answer.shown if topic.open},
        "hero": report.hero(parts),
        "caveats": [],
        **report.FUNCTIONS,
    }
    if answer.blocks:
        values["facts"] = [("replicates that are complete", answer.blocks), *values["facts"]]
    links = [(section.id, topic.short or section.title) for topic, section in answer.shown]
    return Drawn(
        answer=_part("answer", **values),
        sections=_part("sections", **values),
        contents=_links(links, ended=False),
        figures=[asdict(figure) for section in parts for figure in section.figures],
        ended=False,
    )


def drawn_report(frames: Frames) -> Drawn:
    """The report of a sweep whose runs have all ended, without what a saved page carries."""
    block = carry.dump(carry.clean(frames))
    values = report.contents(carry.read(block), block)
    parts, short = values.pop("parts"), values["short"]
    left_out = dict.fromkeys(("generator", "policy", "style", "manifest", "payload", "data"), "")
    fill = partial(
        environment().get_template("page.html").render,
        bundle="",
        script="",
        sections=parts,
        **left_out,
        **report.FUNCTIONS,
        **{name: value for name, value in values.items() if name != "glossary"},
    )
    page = report.with_glossary(fill, values["glossary"])
    links = [(one.id, short.get(one.id, one.title)) for one in parts]
    return Drawn(
        answer=page.partition("<main>")[2].rpartition("</main>")[0],
        sections="",
        contents=_links([*links, *BEHIND], ended=True),
        figures=[asdict(figure) for part in parts for figure in part.figures],
        ended=True,
    )


def _links(links: Sequence[tuple[str, str]], *, ended: bool) -> str:
    return _part("contents", links=links, ended=ended)


def _part(part: str, **values: Any) -> str:
    return environment().get_template("parts.html").render(part=part, **values)


def live(
    board: PageBoard, *, name: str, question: str, made: Drawn, root: str, around: Around
) -> str:
    """The page of one sweep."""
    state = {
        "cursor": str(board.cursor),
        "root": f"{root}/s/{name}",
        "figures": board.figures,
        **{key: value for key, value in board.since(None).items() if key != "regions"},
    }
    html = {key: Markup(text) for key, text in board.regions.items()}  # noqa: S704 our own templates
    return (
        environment()
        .get_template("live.html")
        .render(
            name=name,
            question=question,
            root=root,
            around=around,
            version=version(),
            regions=html,
            drawn={name: Markup(text) for name, text in made.regions.items()},  # noqa: S704
            state=report.payload(state),
        )
    )


def listed(
    entries: Sequence[SweepLine], *, total: int, skip: int, root: str, around: Around
) -> str:
    """The page of all sweeps."""
    return (
        environment()
        .get_template("list.html")
        .render(
            entries=entries,
            total=total,
            newer=max(skip - SHOWN, 0) if skip else None,
            older=skip + SHOWN if skip + SHOWN < total else None,
            root=root,
            around=around,
            version=version(),
        )
    )


def missing(error: str, *, name: str, root: str, around: Around) -> str:
    """The page of a sweep that is not there, or not yet."""
    template = environment().get_template("missing.html")
    return template.render(error=error, name=name, root=root, around=around, version=version())


@cache
def assets() -> dict[str, Asset]:
    """The files that pages load, by name."""
    inner = "\n".join(map(_text, SCRIPTS))
    texts = {
        "live.js": ("text/javascript", f'"use strict";\n(function () {{\n{inner}\n}})();'),
        "list.js": ("text/javascript", _text("list.js")),
        "missing.js": ("text/javascript", _text("missing.js")),
        "live.css": ("text/css", "\n".join(map(_text, STYLES))),
        "plotly.js": ("text/javascript", report.bundle()),
    }
    return {name: _asset(kind, text.encode()) for name, (kind, text) in texts.items()}


@cache
def version() -> str:
    """The name of the files' content: browsers may keep a file as long as they like."""
    whole = b"".join(asset.plain for asset in assets().values())
    return hashlib.sha256(whole).hexdigest()[:16]


def _asset(kind: str, plain: bytes) -> Asset:
    return Asset(kind, plain, gzip.compress(plain, mtime=0))


def _text(name: str) -> str:
    path = TEMPLATES / name
    return path.read_text("utf-8") if path.exists() else report.text_of(name)
