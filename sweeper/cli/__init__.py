"""The command line: parses, calls, prints. Results go to stdout, everything else to stderr."""

from sweeper.cli.app import main

__all__ = ["main"]
