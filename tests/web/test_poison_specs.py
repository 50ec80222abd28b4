"""Specs that are built to harm the service: refused in a line, and the next one is accepted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from command import TINY
from sites import Site

from sweeper.service.checking import Checker


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    found.desk._checker = Checker()
    yield found
    found.store.close()


BOMB = "\n".join(
    f"a{number}: &a{number} [{', '.join([f'*a{number - 1}'] * 9) if number else 'x'}]"
    for number in range(9)
)
POISON = {
    "a document that grows": f"{TINY}\n{BOMB}\n",
    "a document that is deep": TINY + "question: " + "[" * 40_000,
    "a number without end": TINY.replace("replicates: 2", "replicates: 1e400"),
    "a number of 90,000 digits": TINY.replace("replicates: 2", "replicates: " + "9" * 90_000),
    "a name that is a path": TINY.replace("name: tiny", "name: ../../etc/passwd"),
    "half a character": TINY.replace("name: tiny", "name: \ud800"),
    "a text with NUL": TINY.replace("name: tiny", "name: a\0b"),
    "a tag that runs code": TINY.replace("name: tiny", "name: !!python/object/apply:os.abort []"),
}


def test_a_poison_spec_is_refused_in_a_line(site: Site) -> None:
    """Nothing is stored of it, and the next one is accepted."""
    for kind, text in POISON.items():
        answer = site.ask("ann", "POST", "/sweeps", {"spec": text})
        assert answer.status == 400, (kind, answer.body[:200])
        assert all(len(line) < 2000 for line in answer.lines), kind
    for word in ("question=\ud800", "question=a\0b"):
        answer = site.submit(set=[word])
        assert (answer.status, "half characters" in answer.lines[0]) == (400, True)
    assert site.wishes.submissions() == []
    assert site.submit().status == 200
