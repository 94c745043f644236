"""`quota`: how many jobs owners may make, and how often it is their turn. Straight into the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from rich.text import Text

from storyboard.api.errors import CommandError, ExitCode
from storyboard.api.settings import secret
from storyboard.terminal.options import Json
from storyboard.terminal.output import print_json, print_line, print_table, say
from superstoryboard.domain.kinds import Plural, kind_of_plural
from superstoryboard.domain.quotas import QUOTALESS, QuotaScope
from superstoryboard.domain.service_tokens import LONGEST_OWNER

if TYPE_CHECKING:
    from superstoryboard.jobs.quotas import Quota, QuotaTable

HEADER = ("KIND", "WHOSE", "OPEN", "PER MINUTE", "PER DAY")
USES_HEADER = ("KIND", "OPEN", "THIS MINUTE", "TODAY (UTC)")
WHOSE = {"EVERYONE": "everyone", "ANONYMOUS": "users without an account"}
LIGHTEST, HEAVIEST = 0.01, 100
LARGEST = 2**31 - 1

Kind = Annotated[Plural, typer.Argument(help="Kind of jobs: images or videos.", show_default=False)]
OwnerId = Annotated[
    str, typer.Argument(metavar="OWNER", help="Id of the owner (sub of the token).", show_default=False)
]
Owner = Annotated[str, typer.Option("--owner", metavar="ID", help="For this owner only.")]
Anonymous = Annotated[bool, typer.Option("--anonymous", help="For users without an account.")]
Most = Annotated[int | None, typer.Option(min=0, max=LARGEST, help="0: no limit.", show_default="unchanged")]
Result = TypeVar("Result")


def register(app: typer.Typer) -> None:
    """Add the group of this module."""
    group = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
    group.command("set")(set_quota)
    group.command("unset")(unset)
    group.command("weight")(weight)
    group.command("list")(list_quotas)
    group.command("show")(show)
    app.add_typer(
        group,
        name="quota",
        rich_help_panel="Operate",
        help="Set and show quotas and weights of owners. Needs DATABASE_URL.",
    )


def set_quota(
    kind: Kind,
    *,
    owner: Owner = "",
    anonymous: Anonymous = False,
    open_jobs: Most = None,
    per_minute: Most = None,
    per_day: Most = None,
    as_json: Json = False,
) -> None:
    """Set how many jobs may be open, and be made in a minute and a day (UTC). It holds from the next job on.

    Without --owner and --anonymous it is for everyone. For each number the narrowest quota that has it counts. What is
    not given stays as it is.

    [bold]Example[/bold]

      storyboard quota set images --open-jobs 50 --per-day 500

      storyboard quota set images --owner 6f1b0c1e-8a55-4c1e-9a53-0b1d5a3c7f10 --per-day 0
    """
    if open_jobs is None and per_minute is None and per_day is None:
        raise CommandError(ExitCode.USAGE, ["Give at least one of --open-jobs, --per-minute and --per-day."])
    scope, name = _scope(owner, anonymous=anonymous)
    numbers = {"open_jobs": open_jobs, "per_minute": per_minute, "per_day": per_day}

    async def work(table: QuotaTable) -> Quota:
        from superstoryboard.jobs.quotas import Quota  # noqa: PLC0415

        return await table.set(Quota(kind=kind_of_plural(kind).name, scope=scope, owner=name, **numbers))

    _print([_in_table(work)], as_json=as_json)


def unset(kind: Kind, *, owner: Owner = "", anonymous: Anonymous = False) -> None:
    """Remove a quota: what is wider counts then.

    [bold]Example[/bold]

      storyboard quota unset images --owner 6f1b0c1e-8a55-4c1e-9a53-0b1d5a3c7f10
    """
    scope, name = _scope(owner, anonymous=anonymous)
    whose = name or WHOSE[scope]
    if not _in_table(lambda table: table.unset(kind_of_plural(kind).name, scope, name)):
        raise CommandError(ExitCode.FAILED, [f"There is no quota of {kind} for {whose}."])
    print_line(f"Removed the quota of {kind} for {whose}.")


def weight(
    owner: OwnerId,
    number: Annotated[
        float,
        typer.Argument(metavar="WEIGHT", min=LIGHTEST, max=HEAVIEST, help="From 0.01 to 100.", show_default=False),
    ],
) -> None:
    """Set how many jobs of an owner are claimed for each of the others: 1 unless set.

    It counts for jobs that become due afterwards.

    [bold]Example[/bold]

      storyboard quota weight 6f1b0c1e-8a55-4c1e-9a53-0b1d5a3c7f10 2
    """
    _check(owner)
    _in_table(lambda table: table.weigh(owner, number))
    print_line(f"{owner} has weight {number:g}.")


def list_quotas(*, as_json: Json = False) -> None:
    """List all quotas and weights.

    [bold]Example[/bold]

      storyboard quota list
    """

    async def work(table: QuotaTable) -> tuple[list[Quota], dict[str, float]]:
        return await table.quotas(), await table.weights()

    quotas, weights = _in_table(work)
    if as_json:
        print_json({"quotas": [asdict(quota) for quota in quotas], "weights": weights})
        return
    if quotas:
        _print(quotas, as_json=False)
    else:
        say("No quotas.")
    for owner, number in weights.items():
        print_line(f"{owner} has weight {number:g}.")


def show(owner: OwnerId, *, anonymous: Anonymous = False, as_json: Json = False) -> None:
    """Show what an owner may make and has made, and its weight.

    [bold]Example[/bold]

      storyboard quota show 6f1b0c1e-8a55-4c1e-9a53-0b1d5a3c7f10
    """
    _check(owner)
    scope = QuotaScope.ANONYMOUS if anonymous else QuotaScope.EVERYONE
    uses = _in_table(lambda table: table.uses(owner, scope))
    if as_json:
        print_json(uses)
        return
    print_table(USES_HEADER, map(_use, uses))
    print_line(f"{owner} has weight {uses[0]['weight']:g}.")


def _in_table(work: Callable[[QuotaTable], Awaitable[Result]]) -> Result:
    url = secret("DATABASE_URL")
    if not url:
        raise CommandError(ExitCode.USAGE, ["Set DATABASE_URL (or DATABASE_URL_FILE) to the migrated database."])
    # Only here is a database driver needed.
    from storyboard.commands.own_database import in_database  # noqa: PLC0415
    from superstoryboard.jobs.quotas import QuotaTable  # noqa: PLC0415

    return in_database(url, "The quotas", lambda database: work(QuotaTable(database)))


def _scope(owner: str, *, anonymous: bool) -> tuple[str, str]:
    if owner and anonymous:
        raise typer.BadParameter("cannot be used with --owner", param_hint="--anonymous")
    if owner in QUOTALESS:
        raise typer.BadParameter(f"{owner} is no user and has no quota", param_hint="--owner")
    if owner:
        _check(owner)
        return "OWNER", owner
    return (QuotaScope.ANONYMOUS if anonymous else QuotaScope.EVERYONE), ""


def _check(owner: str) -> None:
    if not owner or len(owner) > LONGEST_OWNER or not owner.isprintable():
        raise typer.BadParameter(f"must be 1 to {LONGEST_OWNER} printable characters", param_hint="OWNER")


def _print(quotas: list[Quota], *, as_json: bool) -> None:
    if as_json:
        (only,) = quotas
        print_json(asdict(only))
        return
    print_table(HEADER, map(_row, quotas))


def _row(quota: Quota) -> list[Text]:
    numbers = (quota.open_jobs, quota.per_minute, quota.per_day)
    whose = quota.owner or WHOSE[quota.scope]
    return [Text(word) for word in (quota.kind, whose, *map(_most, numbers))]


def _most(number: int | None) -> str:
    return "-" if number is None else str(number or "no limit")


def _use(uses: dict[str, Any]) -> list[Text]:
    pairs = (("open_now", "open_jobs"), ("in_minute", "per_minute"), ("in_day", "per_day"))
    used = (f"{uses[count]} of {uses[most]}" if uses[most] else str(uses[count]) for count, most in pairs)
    return [Text(word) for word in (uses["kind"], *used)]
