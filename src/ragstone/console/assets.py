"""The page's files, read once, with the hash that makes them cacheable for ever."""

import hashlib
from importlib import resources
from typing import Final

import msgspec

MEDIA_TYPES: Final = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml; charset=utf-8",
}

VERSION_MARK: Final = "@VERSION@"
"""Stands in `index.html` where the version belongs."""
PRELOAD_MARK: Final = "<!-- PRELOAD -->"
"""Stands in `index.html` where links to all modules belong, so that none waits for another."""


class Asset(msgspec.Struct, frozen=True, kw_only=True):
    """One file as it is sent."""

    content: bytes
    media_type: str
    etag: str
    """A strong validator (RFC 9110, 8.8.3): quoted SHA-256 of the content, shortened."""


class Assets(msgspec.Struct, frozen=True, kw_only=True):
    """All files of one build of the page."""

    version: str
    """Changes with any byte of any file."""
    page: Asset
    """`index.html`, referring to the files by version."""
    files: dict[str, Asset]
    """By name, such as `main.js`."""


def load_assets() -> Assets:
    """Read the files that ship in the package. A few milliseconds; call it once."""
    folder = resources.files(__package__) / "static"
    contents = {
        entry.name: entry.read_bytes()
        for entry in sorted(folder.iterdir(), key=lambda entry: entry.name)
        if entry.is_file() and _ending(entry.name) in MEDIA_TYPES
    }
    version = _digest(*(part for name in contents for part in (name.encode(), contents[name])))
    template = contents.pop("index.html").decode()
    preload = "\n".join(
        f'    <link rel="modulepreload" href="console/{version}/{name}">'
        for name in contents
        if name.endswith(".js") and name != "theme-start.js"
    )
    page = template.replace(VERSION_MARK, version).replace(PRELOAD_MARK, preload.lstrip())
    return Assets(
        version=version,
        page=_asset("index.html", page.encode()),
        files={name: _asset(name, content) for name, content in contents.items()},
    )


def _asset(name: str, content: bytes) -> Asset:
    return Asset(
        content=content, media_type=MEDIA_TYPES[_ending(name)], etag=f'"{_digest(content)}"'
    )


def _ending(name: str) -> str:
    return name.rpartition(".")[2]


def _digest(*parts: bytes) -> str:
    """Sixteen hexadecimal digits over the parts, each with its length in front."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()[:16]
