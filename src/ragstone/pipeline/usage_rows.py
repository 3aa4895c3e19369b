"""What the usage report is told of a charge, of one or of those who share it."""

from collections.abc import Sequence

from ragstone.domain.budget import Spender, UsageRow
from ragstone.domain.usage import Usage


def usage_row(
    spender: Spender,
    model: str,
    *,
    questions: int = 0,
    cached: bool = False,
    usage: Usage = Usage(),  # noqa: B008 - frozen
    nanodollars: int = 0,
    saved: int = 0,
) -> UsageRow:
    """The ledger puts it into the present hour."""
    return UsageRow(
        hour=0,
        tenant=spender.tenant,
        application=spender.application,
        model=model,
        key_id=spender.key_id or "",
        user=spender.user or "",
        questions=questions,
        cached=questions if cached else 0,
        usage=usage,
        nanodollars=nanodollars,
        saved_nanodollars=saved,
    )


def usage_rows(
    payers: Sequence[Spender], model: str, usage: Usage, nanodollars: int
) -> list[UsageRow]:
    """One for each payer; their sum is the whole, to the last token and nano-dollar."""
    if len(payers) == 1:
        return [usage_row(payers[0], model, usage=usage, nanodollars=nanodollars)]
    return [
        usage_row(
            payer,
            model,
            usage=_part_of(usage, len(payers), number),
            nanodollars=_part(nanodollars, len(payers), number),
        )
        for number, payer in enumerate(payers)
    ]


def _part_of(usage: Usage, parts: int, number: int) -> Usage:
    return Usage(
        input_tokens=_part(usage.input_tokens, parts, number),
        output_tokens=_part(usage.output_tokens, parts, number),
        cached_input_tokens=_part(usage.cached_input_tokens, parts, number),
        written_input_tokens=_part(usage.written_input_tokens, parts, number),
        embedding_tokens=_part(usage.embedding_tokens, parts, number),
        rerank_tokens=_part(usage.rerank_tokens, parts, number),
        estimated=usage.estimated,
    )


def _part(whole: int, parts: int, number: int) -> int:
    """Even; the first few have one more where it does not divide."""
    return whole // parts + (number < whole % parts)
