"""The browser that the tests of pages share."""

import pytest
from visits import chromium


@pytest.fixture(scope="module")
def browser():
    with chromium() as launched:
        yield launched
