"""The commands that talk to a service: login, submit, queue and commands about sweeps."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sweeper.cli import inputs, logs
from sweeper.cli.options import AsJson, Overrides, SpecArgument
from sweeper.errors import InputError

if TYPE_CHECKING:
    from sweeper.service.client import Service

LOGIN = "Example: sweeper login https://sweeps.example.org --token-file token"
SUBMIT = "Example: sweeper submit batch_size --priority high --set replicates=10"
QUEUE = "Example: sweeper queue --json"
SHOW = "Example: sweeper show batch-size-digits"
LOGS = "Example: sweeper logs batch-size-digits"
STOP = "Example: sweeper stop batch-size-digits"
RESUME = "Example: sweeper resume batch-size-digits"
CANCEL = "Example: sweeper cancel batch-size-digits"
EXTEND = "Example: sweeper extend batch-size-digits --set replicates=10"
PRIORITY = "Example: sweeper priority batch-size-digits high"
CLONE = "Example: sweeper clone batch-size-digits batch-size-wide --set replicates=10"
LINK = "Example: sweeper link batch-size-digits --days 7"
LIMITS = "Example: sweeper limits ann --set most_hours=20 --set most_sweeps=2"
TOKEN = "Example: sweeper token ann --role submitter --days 90"  # noqa: S105  a command
LAST = "last"
PRIORITIES = ("high", "normal", "low")
ROLES = ("reader", "submitter", "admin")

Url = Annotated[
    str | None,
    typer.Option(
        "--service",
        envvar="SWEEPER_SERVICE",
        metavar="URL",
        help="The service; else the last login's.",
    ),
]
Name = Annotated[str, typer.Argument(metavar="SWEEP", help="Its name.")]
Key = Annotated[
    str | None, typer.Option(metavar="KEY", help="The same key is the same wish, sent again.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only check, change nothing.")]
Why = Annotated[str, typer.Option(metavar="TEXT", help="A reason, for the log of events.")]


def _service(url: str | None) -> Service:
    from sweeper.service.client import connect

    return connect(url)


def _print(kind: str, found: Mapping[str, Any], *, as_json: bool, text: str) -> None:
    from sweeper.cli import show

    print(show.as_json(kind, found) if as_json else text)


def login(
    url: Annotated[str, typer.Argument(metavar="URL", help="The service's address.")],
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token; else it is asked for.")
    ] = None,
) -> None:
    """Store a token for a service, and use that service from now on."""
    from sweeper.service.client import Service, store_login

    if token_file is not None:
        try:
            text = token_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"--token-file: {token_file}: cannot be read: {error}") from error
    elif sys.stdin.isatty():
        text = typer.prompt("token", hide_input=True, err=True).strip()
    else:
        text = sys.stdin.readline().strip()
    service = Service(url, text)
    me = service.me()
    path = store_login(service.url, text)
    print(f"{service.url}: {me['owner']}, {me['role']}")
    logs.say(f"stored in {path}")


def submit(
    spec: SpecArgument,
    overrides: Overrides = None,
    priority: Annotated[str, typer.Option(help="high, normal or low.")] = "normal",
    after: Annotated[
        str, typer.Option(metavar="SWEEP", help="Start when that sweep has finished.")
    ] = "",
    at: Annotated[
        str, typer.Option(metavar="HH:MM", help="Run from then on, each day; with --until.")
    ] = "",
    until: Annotated[str, typer.Option(metavar="HH:MM", help="Pause then, each day.")] = "",
    notify: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="Send a message there about each event; repeatable."),
    ] = None,
    key: Key = None,
    dry_run: DryRun = False,
    service: Url = None,
    as_json: AsJson = False,
) -> None:
    """Add a sweep to the queue of a service; it runs without this terminal."""
    inputs.one_of("--priority", priority, PRIORITIES)
    found = _service(service).submit(
        spec,
        set=overrides or (),
        priority=priority,
        after=after,
        at=at,
        until=until,
        notify=notify or (),
        key=key,
        dry_run=dry_run,
    )
    _print("submitted", found, as_json=as_json, text=_accepted(found))


def _accepted(found: Mapping[str, Any]) -> str:
    """What a submission is answered; its warnings are shown."""
    for warning in found["warnings"]:
        logs.complain(f"warning: {warning}")
    text = f"{found['name']}: {found['cells']} cells, {found['runs']} runs; {_place(found)}"
    if found["hours"] is not None:
        text += f"; about {found['hours']:.2g} hours of a worker or its GPUs"
    if found["money"] is not None:
        text += f", {found['money']:.2f} in money"
    for line in found["limits"]:
        logs.say(line)
    if found["dry_run"]:
        text += " (nothing was submitted)"
    elif not found["new"]:
        text += " (it was submitted before)"
    return text


def clone(
    name: Name,
    new: Annotated[str, typer.Argument(metavar="NEW", help="The name of the copy.")],
    overrides: Overrides = None,
    priority: Annotated[str, typer.Option(help="high, normal or low.")] = "normal",
    key: Key = None,
    dry_run: DryRun = False,
    service: Url = None,
    as_json: AsJson = False,
) -> None:
    """Submit a changed copy of a sweep of a service under another name."""
    inputs.one_of("--priority", priority, PRIORITIES)
    found = _service(service).clone(
        name, new, set=overrides or (), priority=priority, key=key, dry_run=dry_run
    )
    _print("submitted", found, as_json=as_json, text=_accepted(found))


def _place(row: Mapping[str, Any]) -> str:
    if row["state"] != "queued":
        return str(row["state"])
    if row["position"] is None:
        return "queued"
    from sweeper.live import duration

    soon = row["starts_in_s"] or 0.0
    when = "starts at once" if soon < 1 else f"starts in about {duration(soon)}"
    return f"place {row['position']} in the queue, {when}"


def queue(service: Url = None, as_json: AsJson = False) -> None:
    """Show all sweeps of a service: state, place, what each waits for."""
    from rich.console import Console

    from sweeper.cli import show

    found = _service(service).queue()
    if as_json:
        print(show.as_json("queue", found))
        return
    rows = [
        [row["name"], row["owner"], row["priority"], _place(row), row["reason"]]
        for row in found["sweeps"]
    ]
    rows += [[row["name"], "", "", row["state"], row["reason"]] for row in found["launched"]]
    show.grid(Console(), ["sweep", "owner", "priority", "state", "why"], rows)
    if found["total"] > len(found["sweeps"]):
        logs.say(f"and {found['total'] - len(found['sweeps'])} more")
    leader = found["supervisor"]
    if leader is None or not leader["leads"]:
        logs.complain("no supervisor runs: nothing will start until sweeper serve does")


def show(name: Name, service: Url = None, as_json: AsJson = False) -> None:
    """Show a sweep of a service: its place, its runs, what has happened."""
    from datetime import datetime

    from sweeper.cli import show as shown

    found = _service(service).show(name)
    if as_json:
        print(shown.as_json("sweep", found))
        return
    row, sweep = found["submission"], found["sweep"]
    if row is not None:
        print(f"{name} ({row['owner']}, {row['priority']}): {_place(row)}")
        if row["reason"]:
            print(row["reason"])
    if sweep is not None:
        runs = ", ".join(f"{number} {state}" for state, number in sweep["runs"].items() if number)
        print(f"{sweep['state']}: {runs or 'no runs yet'}")
    for event in found["events"]:
        when = datetime.fromtimestamp(event["at"]).strftime("%d %b %H:%M:%S")
        print(f"{when}  {event['who']}: {event['what']}  {event['why']}")
    for one in found["messages"]:
        if not one["received"]:
            tried = f" after {one['tries']} tries" if one["tries"] else ""
            print(f"message {one['event']!r}{tried}: {one['outcome']}")


def log(name: Name, service: Url = None) -> None:
    """Print the end of what a sweep's drivers have written."""
    print(_service(service).logs(name), end="")


def report(sweeps: Sequence[str], service: str, *, out: Path | None, force: bool) -> None:
    """Writes the report of one sweep of a service, and prints its path.

    Raises:
        InputError: it is not one sweep, or the page exists.
    """
    from sweeper import files
    from sweeper.report.page import check_target

    if len(sweeps) != 1:
        raise InputError("SWEEP: name one sweep of the service")
    path = out or Path(f"{sweeps[0]}.html")
    check_target(path, force=force, option="--out")
    files.write(path, _service(None if service == LAST else service).report(sweeps[0]))
    print(path)


def archive(sweep: str | None, service: str, *, out: Path | None, force: bool) -> None:
    """Writes the archive of a sweep of a service, and prints its path.

    Raises:
        InputError: there is no name, or the file exists.
    """
    from sweeper import files
    from sweeper.cli.keeping import SUFFIX, check_target

    if sweep is None:
        raise InputError("SWEEP: name the sweep of the service")
    path = out or Path(f"{sweep}{SUFFIX}")
    check_target(path, force=force)
    found = _service(None if service == LAST else service).archive(sweep)
    with files.replacing(path) as temporary:
        temporary.write_bytes(found)
    print(path)


def best(sweep: str | None, service: str, *, plain: bool, as_json: bool) -> None:
    """Prints the configuration that a service recommends.

    Raises:
        InputError: there is no name, or an option that the service does not know.
    """
    from io import StringIO

    from ruamel.yaml import YAML

    if sweep is None or not plain:
        raise InputError("SWEEP: name the sweep of the service, without --at and --out")
    found = _service(None if service == LAST else service).best(sweep)
    text = StringIO()
    YAML().dump(found, text)
    _print("best", found, as_json=as_json, text=text.getvalue().rstrip())


def _commanded(found: Mapping[str, Any], *, as_json: bool, name: str, verb: str) -> None:
    if found["dry_run"]:
        text = f"{name}: {verb} is possible (nothing was changed)"
    else:
        text = f"{name}: {found['command']['outcome'] or f'{verb} is asked for'}"
    _print("command", found, as_json=as_json, text=text)


def stop(
    name: Name,
    why: Why = "",
    key: Key = None,
    dry_run: DryRun = False,
    service: Url = None,
    as_json: AsJson = False,
) -> None:
    """Stop a sweep of a service after its round; resume continues it."""
    found = _service(service).stop(name, why=why, key=key, dry_run=dry_run)
    _commanded(found, as_json=as_json, name=name, verb="stop")


def resume(
    name: Name,
    why: Why = "",
    key: Key = None,
    dry_run: DryRun = False,
    service: Url = None,
    as_json: AsJson = False,
) -> None:
    """Continue a sweep of a service that was stopped, was halted or needs attention."""
    found = _service(service).resume(name, why=why, key=key, dry_run=dry_run)
    _commanded(found, as_json=as_json, name=name, verb="resume")


def cancel(
    name: Name,
    why: Why = "",
    key: Key = None,
    dry_run: DryRun = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    service: Url = None,
    as_json: AsJson = False,
) -> None:
    """End a sweep of a service for ever; what it has recorded stays."""
    if not (yes or dry_run):
        if not sys.stdin.isatty():
            raise InputError(f"cancel {name}: it cannot be undone; agree with --yes, or use stop")
        typer.confirm(f"Cancel {name}? It cannot be resumed", abort=True, err=True)
    found = _service(service).cancel(name, why=why, key=key, dry_run=dry_run)
    _commanded(found, as_json=as_json, name=name, verb="cancel")


def extend(
    name: Name,
    overrides: Overrides = None,
    why: Why = "",
    key: Key = None,
    dry_run: DryRun = False,
    service: Url = None,
    as_json: AsJson = False,
) -> None:
    """Change a sweep of a service, such as more replicates; only what is missing runs."""
    if not overrides:
        raise InputError("--set: nothing is given; name at least one KEY=VALUE")
    found = _service(service).extend(name, set=overrides, why=why, key=key, dry_run=dry_run)
    _commanded(found, as_json=as_json, name=name, verb="extend")


def priority(
    name: Name,
    to: Annotated[str, typer.Argument(metavar="CLASS", help="high, normal or low.")],
    why: Why = "",
    key: Key = None,
    dry_run: DryRun = False,
    service: Url = None,
    as_json: AsJson = False,
) -> None:
    """Change the priority class of a sweep of a service."""
    inputs.one_of("CLASS", to, PRIORITIES)
    found = _service(service).priority(name, to, why=why, key=key, dry_run=dry_run)
    _commanded(found, as_json=as_json, name=name, verb="priority")


def limits(
    owner: Annotated[
        str | None, typer.Argument(metavar="OWNER", help="Whose they are; else your own.")
    ] = None,
    given: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="LIMIT=NUMBER", help="Set a limit, or `none`; repeatable."),
    ] = None,
    service: Url = None,
    as_json: AsJson = False,
) -> None:
    """Show what an owner may use and what is left; an administrator sets it with --set."""
    there = _service(service)
    if given and owner is None:
        raise InputError("OWNER: name whose limits to set, such as sweeper limits ann --set ...")
    me = there.me() if owner is None else {"owner": owner}
    if owner is None:
        found = {name: me[name] for name in ("limits", "used", "left", "price")}
    else:
        found = there.owners().get(owner, {"limits": {}, "used": {}, "left": {}})
        if given:
            new = {name: _number(word) for name, word in inputs.pairs("--set", given).items()}
            there.set_owner(owner, {"weight": 1.0, **found["limits"], **new})
            found = there.owners()[owner]
    _print("limits", found, as_json=as_json, text="\n".join(_limit_lines(me["owner"], found)))


def _number(word: str) -> float | None:
    if word == "none":
        return None
    try:
        return float(word)
    except ValueError:
        raise InputError(f"--set: {word!r}: a number, or none for no limit") from None


def _limit_lines(owner: str, found: Mapping[str, Any]) -> list[str]:
    kinds = {"most_sweeps": "sweeps at a time", "most_workers": "workers at a time"}
    lines = [
        f"{owner}: at most {found['limits'][name]:g} {words}"
        for name, words in kinds.items()
        if found["limits"].get(name) is not None
    ]
    for word in ("hours", "money"):
        used, most = found["used"].get(word, 0.0), found["limits"].get(f"most_{word}")
        if most is not None:
            left = found["left"][word]
            lines.append(f"{owner}: {used:.2f} of {most:g} {word} used, {left:.2f} left")
        elif used:
            lines.append(f"{owner}: {used:.2f} {word} used, no limit")
    return lines or [f"{owner}: no limits, nothing used"]


def token(
    owner: Annotated[
        str | None,
        typer.Argument(metavar="OWNER", help="Whose it is; else all are listed."),
    ] = None,
    role: Annotated[str, typer.Option(help="reader, submitter or admin.")] = "submitter",
    label: Annotated[str, typer.Option(metavar="TEXT", help="What it is for.")] = "",
    days: Annotated[float | None, typer.Option(help="Until it expires; else never.")] = None,
    revoke: Annotated[str | None, typer.Option(metavar="ID", help="Make a token invalid.")] = None,
    service: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make, list or revoke tokens of a service, as its administrator."""
    inputs.one_of("--role", role, ROLES)
    there = _service(service)
    if revoke is not None:
        there.revoke(revoke)
        _print("revoked", {"id": revoke}, as_json=as_json, text=f"{revoke} is revoked")
    elif owner is not None:
        made = there.add_token(owner, role=role, label=label, days=days)
        logs.say(f"a {role}'s token for {owner}; it is shown only now")
        _print("token", made, as_json=as_json, text=made["token"])
    else:
        listed = there.tokens()
        lines = [
            f"{one['id']}  {one['owner']}  {one['role']}  {_until(one)}  {one['label']}".rstrip()
            for one in listed
        ]
        _print("tokens", {"tokens": listed}, as_json=as_json, text="\n".join(lines))


def link(
    name: Name,
    days: Annotated[float, typer.Option(help="Until it expires.")] = 7.0,
    label: Annotated[str, typer.Option(metavar="TEXT", help="For whom it is.")] = "",
    listed: Annotated[bool, typer.Option("--list", help="Only list what there is.")] = False,
    revoke: Annotated[str | None, typer.Option(metavar="ID", help="Make a link invalid.")] = None,
    service: Url = None,
    as_json: AsJson = False,
) -> None:
    """Make, list or revoke read-only links to the page of one sweep."""
    there = _service(service)
    if revoke is not None:
        there.revoke_link(name, revoke)
        _print("revoked", {"id": revoke}, as_json=as_json, text=f"{revoke} is revoked")
    elif listed:
        found = there.links(name)
        lines = [f"{one['id']}  {_until(one)}  {one['label']}".rstrip() for one in found]
        _print("links", {"links": found}, as_json=as_json, text="\n".join(lines))
    else:
        made = there.add_link(name, days=days, label=label)
        logs.say("whoever has this link sees the page; it is shown only now")
        _print("link", made, as_json=as_json, text=made["url"])


def _until(one: Mapping[str, Any]) -> str:
    if one["revoked_at"] is not None:
        return "revoked"
    return "valid" if one["expires_at"] is None else "expires"
