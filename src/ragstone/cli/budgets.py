"""`budgets`: who may spend how much."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from ragstone.cli.client import Client, quoted
from ragstone.cli.context import context_of, run_with_client
from ragstone.cli.printing import print_deleted, print_json, print_rows
from ragstone.domain.errors import InvalidRequest

budgets_app = typer.Typer(help="Set, list and remove budgets.", no_args_is_help=True)

EACH_WORD = "each"


class Unit(StrEnum):
    """What is counted."""

    dollars = "dollars"
    tokens = "tokens"


class Period(StrEnum):
    """Of the calendar, in UTC."""

    day = "day"
    month = "month"


@budgets_app.command("set")
def set_budget(
    typer_context: typer.Context,
    limit: Annotated[
        str,
        typer.Option(help="From here on no model is asked; cached and extracted answers go on."),
    ],
    hard_limit: Annotated[
        str | None,
        typer.Option(
            help="What else costs (embedding, reranking) may go on up to here; then requests "
            "are refused.",
            show_default="the limit",
        ),
    ] = None,
    unit: Annotated[Unit, typer.Option(help="What is counted.")] = Unit.dollars,
    per: Annotated[Period, typer.Option(help="Begins anew each day or month, in UTC.")] = (
        Period.month
    ),
    key: Annotated[
        str | None, typer.Option(help="For one key, or for each.", metavar="ID|each")
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="For one user, or for each.", metavar="NAME|each")
    ] = None,
    app: Annotated[
        str | None, typer.Option(help="For one application, or for each.", metavar="NAME|each")
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            help="Whose; without --key, --user and --app for all of it.", show_default="default"
        ),
    ] = None,
) -> None:
    """Set a budget, or change the one that there is for the same."""
    context = context_of(typer_context)
    scope, name = _for_whom(key=key, user=user, application=app)
    body = {
        "scope": scope,
        "name": name,
        "limit": limit,
        "hard_limit": hard_limit,
        "unit": unit.value,
        "period": per.value,
        "tenant": tenant,
    }

    async def work(client: Client) -> Any:
        return await client.put("/v1/budgets", body)

    made = run_with_client(context, work, create=True)
    if context.as_json:
        print_json(made)
    else:
        typer.echo(f"{made['id']}: {_limits(made)} a {made['period']} for {_whose(made)}.")


@budgets_app.command("list")
def list_budgets(
    typer_context: typer.Context,
    tenant: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
) -> None:
    """All budgets, and how much of each is used."""

    async def work(client: Client) -> list[dict[str, Any]]:
        return await all_pages(client, {"tenant": tenant} if tenant else {})

    context = context_of(typer_context)
    budgets = run_with_client(context, work)
    rows = budgets if context.as_json else [row for budget in budgets for row in _rows(budget)]
    columns = ("id", "for", "per", "limit", "used", "of_it_held", "left", "share")
    empty = "No budgets yet. Set one: ragstone budgets set --limit 50 --per month"
    print_rows(context, rows, columns, empty=empty)


@budgets_app.command("remove")
def remove_budget(typer_context: typer.Context, budget_id: str) -> None:
    """Remove a budget; what it bound is free again."""
    context = context_of(typer_context)

    async def work(client: Client) -> Any:
        return await client.delete(f"/v1/budgets/{quoted(budget_id)}")

    print_deleted(context, run_with_client(context, work), done="Removed")


async def all_pages(client: Client, query: dict[str, str]) -> list[dict[str, Any]]:
    """A budget that goes on over several pages is one."""
    budgets: dict[str, dict[str, Any]] = {}
    async for page in client.pages("/v1/budgets", query):
        for budget in page["budgets"]:
            known = budgets.setdefault(budget["id"], budget)
            if known is not budget:
                known["standing"] += budget["standing"]
    return list(budgets.values())


def _for_whom(**named: str | None) -> tuple[str, str]:
    """Scope and name. Raises `InvalidRequest` where several are given, or an empty name."""
    given = [(scope, name) for scope, name in named.items() if name is not None]
    if len(given) > 1:
        raise InvalidRequest(
            "A budget is for a key, a user or an application, not for several of them.",
            remedy="Set one budget for each of them: a request obeys all that match it.",
        )
    if not given:
        return "tenant", ""
    ((scope, name),) = given
    return scope, "*" if name == EACH_WORD else name


def _rows(budget: dict[str, Any]) -> list[dict[str, Any]]:
    """A line for each who has spent of it."""
    return [
        {
            "id": budget["id"],
            "for": _whose({**budget, "name": standing["name"] or budget["name"]}),
            "per": budget["period"],
            "limit": _limits(budget),
            "used": _sum(standing["settled"], standing["outstanding"]),
            "of_it_held": _shown(standing["outstanding"]),
            "left": _shown(standing["left"]),
            "share": f"{standing['share']:.0%}",
        }
        for standing in budget["standing"]
    ]


def _whose(budget: dict[str, Any]) -> str:
    if budget["scope"] == "tenant":
        return f"tenant {budget['tenant']}"
    scope, name = budget["scope"], budget["name"]
    whose = f"each {scope}" if name == "*" else f"{scope} {name}"
    return f"{whose} of {budget['tenant']}"


def _limits(budget: dict[str, Any]) -> str:
    hard = budget["hard_limit"]
    return _shown(budget["limit"]) + (f" (hard {_shown(hard)})" if hard else "")


def _sum(one: dict[str, Any], other: dict[str, Any]) -> str:
    return _shown({unit: one[unit] + other[unit] for unit in one if unit != "dollars"})


def _shown(quantity: dict[str, Any]) -> str:
    """To a hundredth of a cent, which is enough to read."""
    if "tokens" in quantity:
        return f"{quantity['tokens']:,} tokens"
    return shown_dollars(quantity["nanodollars"])


def shown_dollars(nanodollars: int) -> str:
    """`$1,234.50`; `$0.0042` below a dollar, where cents are too coarse."""
    dollars = nanodollars / 1e9
    return f"${dollars:,.2f}" if abs(dollars) >= 1 or not nanodollars else f"${dollars:,.4f}"
