"""Every setting is documented, and a wrong one is named with what to do."""

import runpy
from pathlib import Path

import pytest
from pydantic import BaseModel

from ragstone.domain.errors import InvalidSettings
from ragstone.settings import Settings, load_settings, setting_names


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("RAGSTONE_HOME", "RAGSTONE_LLM__MODEL"):
        monkeypatch.delenv(name, raising=False)


def test_every_setting_is_documented() -> None:
    for group, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            assert field.annotation.__doc__, group
            for name, inner in field.annotation.model_fields.items():
                assert inner.description, f"{group}.{name}"
        else:
            assert field.description, group


def test_every_setting_is_in_the_settings_page() -> None:
    root = Path(__file__).parents[1]
    written = runpy.run_path(str(root / "tools" / "write_settings_page.py"))["page"]()
    shown = (root / "docs" / "settings.md").read_text(encoding="utf-8")
    assert shown == written, "run `make docs`"
    assert all(f"`{name}`" in shown for name in setting_names())


def test_arguments_win_over_environment_over_home_file_over_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "ragstone.toml").write_text(
        "[server]\nport = 1\nhost = 'a'\n[llm]\nmodel = 'a'\nmax_tokens = 7\n"
    )
    (home / "ragstone.toml").write_text("[server]\nport = 2\nhost = 'b'\n[llm]\nmodel = 'b'\n")
    monkeypatch.setenv("RAGSTONE_SERVER__PORT", "3")
    monkeypatch.setenv("RAGSTONE_SERVER__HOST", "c")
    settings = load_settings(home, {"server": {"port": 4}})
    assert (settings.server.port, settings.server.host) == (4, "c")
    assert (settings.llm.model, settings.llm.max_tokens) == ("b", 7)
    assert settings.home == home


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("RAGSTONE_LLM__MODLE", "x", "llm.model"),
        ("RAGSTONE_LMM__MODEL", "x", "llm"),
        ("RAGSTONE_SERVR", "x", "RAGSTONE_SERVER__"),
        ("RAGSTONE_SERVER__PORT", "http", "server.port"),
        ("RAGSTONE_SERVER__PORT", "70000", "server.port"),
        ("RAGSTONE_LLM__MAX_TOKENS", "-1", "llm.max_tokens"),
        ("RAGSTONE_LLM__PROVIDER", "acme", "llm.provider"),
    ],
)
def test_a_wrong_variable_is_refused_with_the_nearest_valid_one(
    variable: str, value: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidSettings) as refused:
        load_settings()
    assert expected in str(refused.value)
    assert refused.value.remedy


def test_a_refused_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAGSTONE_LLM__API_KEY", "sk-very-secret")
    assert "sk-very-secret" not in repr(load_settings())


@pytest.mark.parametrize("content", ["[server", "home = 'x'", "[server]\nprot = 1"])
def test_a_wrong_file_is_named(content: str, tmp_path: Path) -> None:
    (tmp_path / "ragstone.toml").write_text(content)
    with pytest.raises(InvalidSettings) as refused:
        load_settings(tmp_path / "home")
    assert "ragstone.toml" in str(refused.value) or "server.port" in str(refused.value)


def test_fallbacks_in_the_environment_are_a_json_list(monkeypatch: pytest.MonkeyPatch) -> None:
    value = '[{"base_url": "http://127.0.0.1:1/v1", "model": "m"}]'
    monkeypatch.setenv("RAGSTONE_LLM__FALLBACKS", value)
    assert [endpoint.model for endpoint in load_settings().llm.fallbacks] == ["m"]


@pytest.mark.parametrize(
    "value", ['[{"api_key": "sk-secret", "modl": 1}]', '[{"api_key": "sk-secret"']
)
def test_fallbacks_that_cannot_be_are_named_without_their_keys(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("RAGSTONE_LLM__FALLBACKS", value)
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    assert "llm.fallbacks" in str(caught.value)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("llm.timeout_seconds", "admission.deadline_seconds"),
        ("llm.first_token_seconds", "admission.deadline_seconds"),
        ("llm.gap_seconds", "admission.deadline_seconds"),
        ("llm.connect_seconds", "llm.first_token_seconds"),
        ("reranker.timeout_seconds", "admission.deadline_seconds"),
        ("engine.timeout_seconds", "admission.deadline_seconds"),
        ("ladder.first_token_seconds", "llm.first_token_seconds"),
        ("admission.target_seconds", "admission.interval_seconds"),
        ("resilience.min_concurrency", "resilience.initial_concurrency"),
        ("resilience.initial_concurrency", "llm.max_connections"),
    ],
)
def test_settings_that_contradict_are_refused_with_both_names(name: str, bound: str) -> None:
    group, field = name.split(".")
    with pytest.raises(InvalidSettings) as caught:
        load_settings(overrides={group: {field: 5_000}})
    assert f"{name} is 5000, above {bound}" in str(caught.value)
    assert caught.value.field == name


def test_a_default_above_a_bound_that_was_lowered_is_no_contradiction() -> None:
    settings = load_settings(overrides={"admission": {"deadline_seconds": 5}})
    assert settings.llm.first_token_seconds > settings.admission.deadline_seconds
