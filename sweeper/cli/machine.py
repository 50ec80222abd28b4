"""The commands about this machine: doctor, cache and config."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Annotated, Any

import typer

from sweeper import lookup
from sweeper.cli.logs import complain, say
from sweeper.cli.masking import masked
from sweeper.cli.options import AsJson, OpenRay, OptionalSpec, Plugins, RayAddress, Storage
from sweeper.cli.settings import PROJECT_FILE, Value, user_file
from sweeper.errors import InputError
from sweeper.lookup import DEFAULT_STORAGE

DOCTOR = "Example: sweeper doctor mine.yaml --ray-address head:6379"
CACHE = "Example: sweeper cache --remove"
CONFIG = "Example: sweeper config --json"


def doctor(
    spec: OptionalSpec = None,
    storage: Storage = DEFAULT_STORAGE,
    ray_address: RayAddress = None,
    open_ray: OpenRay = False,
    plugins: Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Look at this machine and the database, or at every node of a cluster.

    With --ray-address: each node's versions, GPUs, data of SPEC, checkpoints, clock and distance.
    --plugin says which parts a file adds.
    """
    from dataclasses import asdict

    from rich.console import Console

    from sweeper.cli import show
    from sweeper.cli.doctor import examine, plugin

    lookup.check_storage(storage)
    if ray_address is not None:
        lookup.check_ray(ray_address, allow_open=open_ray)
        return _nodes(ray_address, spec, storage=storage, as_json=as_json)
    if spec is not None:
        raise InputError("SPEC is for the nodes of a cluster: name it by --ray-address HOST:PORT")
    found = [*examine(storage), *map(plugin, plugins or ())]
    if as_json:
        print(show.as_json("doctor", {"findings": [asdict(finding) for finding in found]}))
    else:
        show.findings(Console(), found)
    return int(any(finding.state == "wrong" for finding in found))


def _nodes(address: str, spec: str | None, *, storage: str, as_json: bool) -> int:
    from rich.console import Console

    from sweeper.cli import show
    from sweeper.engine import inspection
    from sweeper.spec import load

    loaded = load(lookup.find_spec(spec)) if spec is not None else None
    found = inspection.examine(address, spec=loaded, storage=storage, say=complain)
    if as_json:
        print(show.as_json("nodes", {"nodes": [inspection.as_dict(node) for node in found]}))
    else:
        show.nodes(Console(), found)
    return int(any(node.wrong for node in found))


def cache(
    remove: Annotated[bool, typer.Option("--remove", help="Remove what lies there.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show this machine's cache: what can be made again, such as resized images and timings."""
    from rich.console import Console

    import trainers.cache as kept
    from sweeper.cli import show

    found, left = kept.entries(), kept.remove() if remove else []
    if as_json:
        print(show.as_json("cache", show.cache(kept.root(), found, removed=remove)))
    else:
        show.cached(Console(), kept.root(), found)
        if not remove:
            say("sweeper cache --remove removes it; SWEEPER_CACHE moves it")
        elif not left:
            say("removed")
    if left:
        more = f", nor {len(left) - 1} more" if len(left) > 1 else ""
        raise InputError(f"{left[0].path}: cannot be removed{more}")


def config(
    context: typer.Context,
    storage: Storage = DEFAULT_STORAGE,
    ray_address: RayAddress = None,
    as_json: AsJson = False,
) -> None:
    """Show each setting, its value, and where the value comes from; passwords are hidden.

    A flag comes first, then the environment, then the project's file: sweeper.toml, or the table
    tool.sweeper of pyproject.toml. Then comes your own file, and last the default.
    """
    from rich.console import Console

    from sweeper.cli import show

    flags = {"storage": storage, "ray_address": ray_address or ""}
    values = list(_with_flags(context, context.obj, flags))
    if as_json:
        files = {"project": PROJECT_FILE, "user": str(user_file())}
        print(show.as_json("config", {"settings": list(_records(values)), "files": files}))
        return
    rows = [
        [record["name"], record["value"] or "-", _origin(record)] for record in _records(values)
    ]
    show.grid(Console(), ["setting", "value", "from"], rows)
    say(f"files: {PROJECT_FILE} or pyproject.toml here, and {user_file()}")


def _with_flags(
    context: typer.Context, values: Iterable[Value], flags: dict[str, str]
) -> Iterator[Value]:
    for value in values:
        name = value.setting.name
        source = context.get_parameter_source(name) if name in flags else None
        if source is not None and source.name == "COMMANDLINE":
            yield replace(value, text=flags[name], source="flag", place=value.setting.flag)
        elif name == "cache" and not value.text:
            from trainers.cache import root

            yield replace(value, text=str(root()))
        else:
            yield value


def _records(values: Iterable[Value]) -> Iterator[dict[str, Any]]:
    for value in values:
        yield {
            "name": value.setting.name,
            "value": masked(value.text),
            "source": value.source,
            "place": value.place,
            "variable": value.setting.variable,
            "flag": value.setting.flag,
            "meaning": value.setting.meaning,
        }


def _origin(record: dict[str, Any]) -> str:
    return " ".join(word for word in (record["source"], record["place"]) if word)
