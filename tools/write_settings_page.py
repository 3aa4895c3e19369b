"""Writes docs/settings.md from the settings themselves."""

from pathlib import Path

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ragstone.settings import Settings

_INTRODUCTION = """\
# Settings

Every setting has three places, from the weakest to the strongest: `ragstone.toml` in the working
folder, `ragstone.toml` in the data folder, and the environment, where `llm.model` is
`RAGSTONE_LLM__MODEL`. A command's own option, such as `--port`, wins over all. A name that does
not exist is refused with the nearest one that does.

This page is written by `make docs`.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [_INTRODUCTION]
    for group, field in Settings.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            parts.append(f"## {group}\n\n{_joined(kind.__doc__)}\n")
            parts.append("| setting | default | what it does |\n|---|---|---|")
            parts += [_row(group, name, inner) for name, inner in kind.model_fields.items()]
            parts.append("")
    return "\n".join(parts)


def _row(group: str, name: str, field: FieldInfo) -> str:
    default = field.default
    if isinstance(default, SecretStr):
        default = default.get_secret_value()
    shown = "none" if default in ("", None) else f"`{default}`"
    return f"| `{group}.{name}` | {shown} | {_joined(field.description)} |"


def _joined(text: str | None) -> str:
    return " ".join((text or "").split())


if __name__ == "__main__":
    target = Path(__file__).parents[1] / "docs" / "settings.md"
    target.write_text(page(), encoding="utf-8")
