"""What was consumed is counted once."""

from ragstone.domain.budget import Amount, Spender, UsageRow
from ragstone.domain.usage import Usage
from ragstone.governance.ledger import UsageLedger


async def test_a_reservation_is_settled_once() -> None:
    ledger = UsageLedger()
    spender = Spender(tenant="acme", key_id=None, user=None, application="assistant")
    reservation = await ledger.reserve(spender, Amount(tokens=100))
    row = UsageRow(
        hour=0,
        tenant="acme",
        application="assistant",
        model="m",
        key_id="",
        user="",
        usage=Usage(input_tokens=7),
    )
    ledger.settle(reservation, Amount(tokens=7), [row])
    ledger.settle(reservation, Amount(tokens=7), [row])
    assert ledger.settled("acme") == Usage(input_tokens=7)
    assert ledger.open_reservations == 0
    assert ledger.settled("other") == Usage()
