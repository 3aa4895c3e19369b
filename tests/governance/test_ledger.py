"""What was consumed is counted once."""

from ragstone.domain.principal import Principal
from ragstone.domain.usage import Usage
from ragstone.governance.ledger import UsageLedger


async def test_a_reservation_is_settled_once() -> None:
    ledger = UsageLedger()
    reservation = await ledger.reserve(Principal(tenant="acme"), Usage(input_tokens=100))
    await ledger.settle(reservation, Usage(input_tokens=7), "ok")
    await ledger.settle(reservation, Usage(input_tokens=7), "ok")
    assert ledger.settled("acme") == Usage(input_tokens=7)
    assert ledger.open_reservations == 0
    assert ledger.settled("other") == Usage()
