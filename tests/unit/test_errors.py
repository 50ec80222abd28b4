"""The ends of error messages: what was meant, or what there is."""

from __future__ import annotations

from sweeper.errors import MOST_CHOICES, nearest


def test_a_message_names_the_nearest_or_what_there_is() -> None:
    """Not all of ten thousand names."""
    assert nearest("digit", ["digits", "cifar10"]) == "; did you mean 'digits'?"
    assert nearest("x", ["b", "a"]) == "; valid: a, b"
    assert nearest("x", []) == ""
    many = nearest("x", [f"sweep-{number:05}" for number in range(10_000)])
    assert many.count(",") == MOST_CHOICES
    assert many.endswith(f"sweep-{MOST_CHOICES - 1:05}, ...")
