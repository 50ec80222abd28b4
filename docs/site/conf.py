"""Sphinx's settings for the site of the documents, which `make site` builds in build/site.

The documents are plain Markdown that GitHub shows as well; what Sphinx needs stands here.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import sweeper

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "Sweeper"
author = "The Sweeper maintainers"
project_copyright = author
release = sweeper.__version__
version = release

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "docs/site/index"
include_patterns = [
    "docs/**",
    "docker/README.md",
    "deploy/slurm/README.md",
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
]
exclude_patterns = ["docs/site/start", "docs/site/static"]

myst_heading_anchors = 3  # the anchors that GitHub gives to headings
smartquotes = False  # they make a dash of the hyphens of --option
default_role = "code"  # docstrings mark code by single quotes
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"Sweeper {release}"
html_copy_source = False
html_show_sphinx = False
html_extra_path = ["start"]
html_static_path = ["static"]
html_css_files = ["tables.css"]


def to_readme(app: Sphinx, document: str, source: list[str]) -> None:
    """Has links to a folder lead to its README.md, as GitHub does."""
    source[0] = re.sub(r"\]\(((?!https?:)[^)\s]*/)\)", r"](\1README.md)", source[0])


def with_python_names(app: Sphinx, document: str, source: list[str]) -> None:
    """Adds the reference of each public name to the page that is for it."""
    if document == "docs/site/python-reference":
        names = sorted(sweeper.__all__, key=rank)
        source[0] += "\n".join(reference(name) for name in names)


def rank(name: str) -> tuple[int, str]:
    """Functions first, then classes, then errors; within each by name."""
    found = getattr(sweeper, name)
    kind = 1 + issubclass(found, Exception) if isinstance(found, type) else 0
    return kind, name


def reference(name: str) -> str:
    """The directive that documents one public name."""
    found = getattr(sweeper, name)
    if name == "__version__":
        return ""
    if not isinstance(found, type):
        return f"\n.. autofunction:: sweeper.{name}\n"
    shown = "   :show-inheritance:\n" if issubclass(found, Exception) else "   :members:\n"
    return f"\n.. autoclass:: sweeper.{name}()\n{shown}"  # (): nobody calls these


def setup(app: Sphinx) -> None:
    """Connects the two functions above; Sphinx calls this."""
    app.connect("source-read", to_readme)
    app.connect("source-read", with_python_names)
