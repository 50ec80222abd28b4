"""Builds the executor's library while Sweeper is installed, if there is a C++ compiler."""

from __future__ import annotations

import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface[Any]):
    """Adds the library to the wheel; without it Sweeper works in PyTorch's forms."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Builds the library beside its sources."""
        builder = runpy.run_path(str(Path(self.root) / "trainers" / "compiled" / "build.py"))
        try:
            made = builder["build"]()
        except builder["NotBuilt"] as error:
            self.app.display_warning(f"the fast form for CPUs is left out: {error}")
            return
        if version == "standard":
            build_data["artifacts"] += [str(path.relative_to(self.root)) for path in made]
            build_data["pure_python"] = False
            platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["tag"] = f"py3-none-{platform}"
