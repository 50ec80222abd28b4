"""The site of the documents: it builds without a warning, and needs no network."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from patience import HANG

import sweeper

ROOT = Path(__file__).parents[2]
MISSING = [one for one in ("sphinx", "furo", "myst_parser") if not importlib.util.find_spec(one)]
needs_sphinx = pytest.mark.skipif(
    bool(MISSING), reason=f"the extra `docs` is not installed: no {', '.join(MISSING)}"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make site` builds it: a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    words = ["-W", "--keep-going", "-q", "-c", "docs/site", "-d", str(folder / "cache")]
    built = subprocess.run(
        [sys.executable, "-m", "sphinx", *words, ".", str(folder / "html")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


def targets(page: Path) -> list[str]:
    """What a page links to or loads."""
    found = re.findall(r'(?:href|src)="([^"]*)"', page.read_text("utf-8"))
    return [target for target in found if not target.startswith("data:")]


@needs_sphinx
@pytest.mark.slow
def test_every_link_inside_the_site_leads_somewhere(site: Path) -> None:
    """Pages and anchors; the example pages are whole files of their own."""
    pages = [path for path in site.rglob("*.html") if "_downloads" not in path.parts]
    anchors = {page: set(re.findall(r'id="([^"]*)"', page.read_text("utf-8"))) for page in pages}
    broken = []
    for page in pages:
        for target in targets(page):
            parts = urlsplit(target)
            if parts.scheme or not (parts.path or parts.fragment):
                continue
            there = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            known = anchors.get(there)
            wrong = known is not None and parts.fragment and parts.fragment not in known
            if wrong or not there.exists():
                broken.append(f"{page.relative_to(site)}: {target}")
    assert broken == []


@needs_sphinx
@pytest.mark.slow
def test_a_page_loads_nothing_from_the_network(site: Path) -> None:
    """Fonts, styles and scripts lie in the site."""
    loading = re.compile(
        r'<(?:script|img|iframe|source)[^>]*src="(?:https?:)?//|@import|url\("?http'
    )
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        if "_downloads" not in path.parts:
            text = path.read_text("utf-8")
            assert not loading.search(text), path
            for link in re.findall(r'<link[^>]*rel="stylesheet"[^>]*>', text):
                assert "//" not in link, path


@needs_sphinx
@pytest.mark.slow
def test_the_python_reference_has_every_public_name(site: Path) -> None:
    """As `sweeper.__all__` has them."""
    page = (site / "docs" / "site" / "python-reference.html").read_text("utf-8")
    documented = set(re.findall(r'id="sweeper\.(\w+)"', page))
    assert documented >= set(sweeper.__all__) - {"__version__"}


@needs_sphinx
@pytest.mark.slow
def test_options_keep_their_two_hyphens(site: Path) -> None:
    """A reader copies what the page of the commands shows, so `--at` must not become a dash."""
    page = (site / "docs" / "cli.html").read_text("utf-8")
    assert "unless --at names" in page
    assert not re.search(r"[–—]\w", page)


def test_the_list_of_decisions_is_complete() -> None:
    """Each decision has a row, with its own first line as the title."""
    folder = ROOT / "docs" / "decisions"
    rows = (folder / "README.md").read_text("utf-8")
    for path in sorted(folder.glob("0*.md")):
        number, title = path.read_text("utf-8").splitlines()[0].removeprefix("# ").split(": ", 1)
        assert f"| [{number}]({path.name}) | {title[0].upper()}{title[1:]} |" in rows
