"""The pages of real sweeps that the documents link to."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweeper.report.verify import verify

PAGES = sorted((Path(__file__).parents[1] / "docs" / "science").glob("*.html"))


@pytest.mark.soak
@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_is_what_the_code_makes_of_its_data(path: Path) -> None:
    """After a change of what a page shows, `make docs` makes them again."""
    assert verify(path).same, "run make docs"
