"""The names of Ray and Optuna that are not public and that Sweeper uses nevertheless.

A new version may rename any of them: a failure names the name and the file that uses it.
"""

from __future__ import annotations

import ast
import importlib
from contextlib import suppress
from pathlib import Path

import pytest

import sweeper

ROOT = Path(sweeper.__file__).parent

# (module, name within it): who uses it and what for.
NAMES = {
    ("ray._private.utils", "get_num_cpus"): "engine/cluster.py, processors within a container",
    ("ray._private.utils", "get_entrypoint_name"): "engine/cluster.py, keeps passwords out",
    ("ray._private.utils", "detect_fate_sharing_support"): "engine/cluster.py, sessions",
    ("ray._private.services", "ConsolePopen"): "engine/cluster.py, sessions",
    ("ray._private.services", "start_api_server"): "engine/cluster.py, no dashboard",
    ("ray._private.ray_constants", "ENABLE_RAY_CLUSTER"): "engine/cluster.py, loopback alone",
    ("ray._private.worker", "_global_node"): "engine/cluster.py, a Ray that ends first",
    ("ray._private.node", "Node.start_monitor"): "engine/cluster.py, no monitor",
    ("ray._private.node", "Node.start_log_monitor"): "engine/cluster.py, no log monitor",
    ("ray._private.node", "Node.dead_processes"): "engine/cluster.py, a Ray that ends first",
    ("ray._private.node", "Node.kill_all_processes"): "engine/cluster.py, signals while Ray ends",
    ("ray._raylet", "Config.initialize"): "engine/cluster.py, authentication",
    ("ray.job_config", "JobConfig._runtime_env_has_working_dir"): "engine/cluster.py, own path",
    ("optuna.storages._rdb", "models"): "store/mirror.py, trials without a study",
    ("optuna.storages._rdb.models", "TrialModel"): "store/trials.py, trials without a study",
    ("optuna.study._frozen", "FrozenStudy"): "gate.py, a study as the dashboard shows it",
}


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_a_private_name_is_still_there(module: str, name: str) -> None:
    """Renamed by a new version: what uses it has to be looked at before that version is taken."""
    found: object = importlib.import_module(module)
    with suppress(ImportError):  # a module in a package is there once it is imported
        importlib.import_module(f"{module}.{name}")
    for part in name.split("."):
        assert hasattr(found, part), f"{module} has no {name} any more: {NAMES[module, name]}"
        found = getattr(found, part)


def test_no_other_private_module_is_imported() -> None:
    """A new private name is added above, with its use."""
    known = {module for module, _ in NAMES} | {module.rpartition(".")[0] for module, _ in NAMES}
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ImportFrom) or node.module is None:
                continue
            foreign = node.module.split(".")[0] in {"ray", "optuna"}
            if foreign and any(part.startswith("_") for part in node.module.split(".")):
                assert node.module in known, f"{path.name} imports from {node.module}"
