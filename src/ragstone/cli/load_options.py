"""What `load` can be told: its options as types, each with its help."""

from pathlib import Path
from typing import Annotated, Literal

import typer

Url = Annotated[str, typer.Argument(help="Of the server, as http://127.0.0.1:8080.")]
Rate = Annotated[float, typer.Option(help="Requests a second.")]
Duration = Annotated[float, typer.Option(help="Seconds.")]
Shape = Annotated[
    str,
    typer.Option(
        help="constant, poisson, ramp, steps, spike or black-friday; with parameters as in "
        "spike:factor=12,start=0.4,end=0.6."
    ),
]
TraceFile = Annotated[Path | None, typer.Option(help="Replay this file's arrival times.")]
TraceStart = Annotated[float, typer.Option(help="Seconds of the trace to leave out.")]
Speed = Annotated[float, typer.Option(help="Replay so many times as fast.")]
QuestionsFile = Annotated[
    Path | None, typer.Option(help="One a line, or JSON lines. Default: the sample's.")
]
Collection = Annotated[
    str | None, typer.Option("--collection", "-c", help="Of questions that name none.")
]
Zipf = Annotated[float, typer.Option(help="Exponent of the questions' popularity.")]
InOrder = Annotated[bool, typer.Option("--in-order", help="Ask in the file's order.")]
Once = Annotated[bool, typer.Option("--once", help="Ask each question once.")]
Turns = Annotated[int, typer.Option(help="Questions in a conversation.")]
ThinkSeconds = Annotated[float, typer.Option(help="Mean seconds before a next turn.")]
LeaveShare = Annotated[float, typer.Option(help="Share of clients that leave early.")]
ApiKey = Annotated[str | None, typer.Option(envvar="RAGSTONE_API_KEY", help="API key.")]
KeysFile = Annotated[Path | None, typer.Option(help="JSON lines with key, name, weight, priority.")]
Endpoint = Annotated[Literal["answers", "chat", "search"], typer.Option(help="What is asked.")]
Whole = Annotated[bool, typer.Option("--whole", help="Without streaming.")]
ModelName = Annotated[str | None, typer.Option(help="For chat.", show_default="the application's")]
DeadlineSeconds = Annotated[float, typer.Option(help="Seconds for an answer, sent along.")]
WithinSeconds = Annotated[
    float | None,
    typer.Option(help="Seconds in which an answer is good.", show_default="the deadline"),
]
Processes = Annotated[int | None, typer.Option(min=1, help="Generators.")]
Seed = Annotated[int, typer.Option(min=0, help="The same seed asks the same.")]
Multiples = Annotated[
    str | None, typer.Option(help="Run at these multiples of the rate: 0.5,1,2,5.")
]
PricesText = Annotated[
    str | None, typer.Option(help="Dollars for a million tokens in and out: 0.15,0.60.")
]
SaveTo = Annotated[Path | None, typer.Option(help="Write the report as JSON.")]
PageTo = Annotated[Path | None, typer.Option(help="Write it as a page with plots.")]
Against = Annotated[Path | None, typer.Option(help="Compare with a report that was saved.")]
OwnTarget = Annotated[
    bool, typer.Option("--i-own-this-target", help="Load a server beyond this machine.")
]
