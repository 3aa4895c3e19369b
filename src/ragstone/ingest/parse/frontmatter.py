"""The block of YAML (`---`) or TOML (`+++`) in front of a Markdown file."""

import re
import tomllib
from collections.abc import Mapping

import yaml  # type: ignore[import-untyped]

from ragstone.domain.errors import DamagedDocument

_LONGEST = 65_536
_FENCED = {
    "---": re.compile(r"---[ \t]*\n(.*?)(?:^|\n)(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL),
    "+++": re.compile(r"\+\+\+[ \t]*\n(.*?)(?:^|\n)\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL),
}


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """Safe YAML without aliases, by which a few lines can stand for gigabytes."""

    def compose_node(self, parent: object, index: object) -> object:
        if self.check_event(yaml.events.AliasEvent):
            raise yaml.YAMLError("aliases are not read")
        return super().compose_node(parent, index)


def split_front_matter(name: str, text: str) -> tuple[dict[object, object], str]:
    """The fields, and the text after them.

    A first block that holds no mapping is text between two rules and stays. Raises
    `DamagedDocument` for a mapping that is broken.
    """
    fence = _FENCED.get(text[:3])
    match = fence.match(text, 0, _LONGEST) if fence else None
    if match is None:
        return {}, text
    block = match.group(1)
    fields = _toml(name, block) if text.startswith("+++") else _yaml(name, block)
    if not isinstance(fields, Mapping):
        return {}, text
    return dict(fields), text[match.end() :]


def _toml(name: str, block: str) -> object:
    try:
        return tomllib.loads(block)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise _damaged(name, "TOML", str(error)) from None


def _yaml(name: str, block: str) -> object:
    try:
        return yaml.load(block, Loader=_PlainLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if re.match(r"[A-Za-z_][\w .-]*:(\s|$)", block.lstrip()) is None:
            return None  # Prose between two rules.
        mark = getattr(error, "problem_mark", None)
        # The fence is line 1, and marks count from 0.
        where = f" (line {mark.line + 2})" if mark is not None else ""
        return _raise_damaged(name, f"{getattr(error, 'problem', None) or error}{where}")


def _raise_damaged(name: str, detail: str) -> object:
    raise _damaged(name, "YAML", detail) from None


def _damaged(name: str, language: str, detail: str) -> DamagedDocument:
    return DamagedDocument(
        f"The front matter of {name} is not valid {language}: {detail}.",
        remedy="Correct the lines between the first two fences, or remove them.",
    )
