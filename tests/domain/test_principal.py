"""Access tokens keep tenants and groups apart."""

from hypothesis import given
from hypothesis import strategies as st

from ragstone.domain.principal import Principal, access_token

names = st.text(min_size=1, max_size=12)
pairs = st.tuples(names, st.one_of(st.just("*"), names.map("group:{}".format)))


def test_a_principal_matches_everyone_its_groups_and_itself_in_its_tenant_only() -> None:
    principal = Principal(tenant="acme", user="ann", groups=frozenset({"staff"}))
    assert set(principal.access_tokens()) == {
        access_token("acme", "*"),
        access_token("acme", "group:staff"),
        access_token("acme", "user:ann"),
    }


@given(pairs, pairs)
def test_no_two_pairs_of_tenant_and_entry_share_a_token(
    one: tuple[str, str], other: tuple[str, str]
) -> None:
    assert (access_token(*one) == access_token(*other)) == (one == other)
