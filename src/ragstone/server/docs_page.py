"""The page at /docs: the API for people, from the same table as the OpenAPI document."""

from html import escape
from typing import Any, Final

import msgspec

from ragstone.server.openapi import openapi_document

_STYLE: Final = """
:root{color-scheme:light dark;--line:color-mix(in srgb,currentColor 18%,transparent)}
body{font:16px/1.55 system-ui,sans-serif;max-width:56rem;margin:0 auto;padding:2rem 1rem}
code,pre{font:.875rem/1.5 ui-monospace,monospace}
pre{border:1px solid var(--line);border-radius:.5rem;padding:.75rem;overflow-x:auto}
h2{margin-top:2.5rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
details{border:1px solid var(--line);border-radius:.5rem;margin:.5rem 0;padding:.5rem .75rem}
summary{cursor:pointer;overflow-wrap:anywhere}
.method{display:inline-block;min-width:4rem;font-weight:600}
"""


def docs_page() -> bytes:
    """Complete HTML: no script, nothing loaded from elsewhere."""
    document = openapi_document()
    sections: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            row = _operation(path, method.upper(), operation, document["components"]["schemas"])
            sections.setdefault(operation["tags"][0], []).append(row)
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(rows)}" for tag, rows in sections.items())
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width,initial-scale=1">'
        f"<title>Ragstone API</title><style>{_STYLE}</style>"
        f"<h1>Ragstone API</h1><p>Version {escape(document['info']['version'])}. For machines: "
        '<a href="/openapi.json">openapi.json</a>. <a href="/">Back to the page</a>.</p>'
        "<p>Keys go into the header <code>Authorization: Bearer KEY</code>. Every failure is "
        "<code>{&quot;error&quot;: {&quot;code&quot;, &quot;message&quot;, &quot;remedy&quot;, …}}"
        f"</code>; codes are stable.</p>{body}"
    ).encode()


def _operation(path: str, method: str, operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    note = operation.get("description", "Open to anyone who can connect.")
    parts = [f"<p>{escape(operation['summary'])} {escape(note)}</p>"]
    names = [parameter["name"] for parameter in operation["parameters"]]
    if names:
        parts.append(f"<p>Parameters: {', '.join(f'<code>{escape(n)}</code>' for n in names)}</p>")
    request = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if request:
        parts.append(_schema("Request", request["schema"], schemas))
    response = next(iter(operation["responses"].values()))["content"].get("application/json")
    if response:
        parts.append(_schema("Response", response["schema"], schemas))
    heading = f"<span class=method>{method}</span><code>{escape(path)}</code>"
    summary = f"<summary>{heading} {escape(operation['summary'])}</summary>"
    return f"<details>{summary}{''.join(parts)}</details>"


def _schema(title: str, schema: dict[str, Any], schemas: dict[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    shown = msgspec.json.format(msgspec.json.encode(schemas.get(name, schema)), indent=2)
    return f"<h4>{title} {escape(name)}</h4><pre>{escape(shown.decode())}</pre>"
