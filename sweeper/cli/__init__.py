"""The command line: parse, call, print. Results go to stdout, everything else to stderr."""

from sweeper.cli.app import main

__all__ = ["main"]
