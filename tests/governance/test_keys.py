"""Keys cannot be guessed, are kept only as hashes, and speak for the right principal."""

from ragstone.governance.keys import hash_key, new_key, principal_of
from tests.clock import VirtualClock


def test_a_key_is_kept_as_its_hash_and_speaks_for_its_principal(clock: VirtualClock) -> None:
    secret, key = new_key(
        tenant="acme",
        user="ann",
        groups=["staff", "staff"],
        scopes=["ingest", "ask"],
        label="till 4",
        clock=clock,
        priority="critical",
    )
    assert len(secret) >= 32 + len("rgs_")
    assert secret not in repr(key)
    assert key.sha256 == hash_key(secret)
    principal = principal_of(key)
    assert principal.tenant == "acme"
    assert principal.groups == frozenset({"staff"})
    assert principal.scopes == frozenset({"ask", "ingest"})
    assert principal.priority == "critical"


def test_no_two_keys_are_alike(clock: VirtualClock) -> None:
    made = [
        new_key(tenant="a", user=None, groups=[], scopes=["ask"], label="", clock=clock)
        for _ in range(100)
    ]
    assert len({secret for secret, _ in made}) == len({key.id for _, key in made}) == 100
