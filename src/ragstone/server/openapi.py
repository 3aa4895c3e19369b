"""The OpenAPI 3.1 document, made from the table of operations and the types themselves."""

import re
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ragstone import __version__
from ragstone.domain.answer import CitationsChecked, Delta, Done, PassagesFound
from ragstone.server.errors import ErrorResponse
from ragstone.server.operations import OPERATIONS, Operation

_REFERENCE: Final = "#/components/schemas/{name}"
_EVENTS: Final = (PassagesFound, Delta, CitationsChecked, Done)
_PATH_PARAMETER: Final = re.compile(r"\{(\w+)(?::\w+)?\}")


def openapi_document(operations: Sequence[Operation] = OPERATIONS) -> dict[str, Any]:
    """The whole document, ready for JSON."""
    types = [t for o in operations for t in (o.request, o.response) if t is not None]
    schemas, components = msgspec.json.schema_components(
        [*types, *_EVENTS, ErrorResponse], ref_template=_REFERENCE
    )
    schema_of = dict(zip(map(id, [*types, *_EVENTS, ErrorResponse]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = _PATH_PARAMETER.sub(r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _operation(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Ragstone",
            "version": __version__,
            "summary": "Answers from your own documents, with citations.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _operation(operation: Operation, schema_of: dict[int, Any]) -> dict[str, Any]:
    error = {"application/json": {"schema": schema_of[id(ErrorResponse)]}}
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _parameters(operation),
        "responses": {
            str(operation.status): {
                "description": "Success.",
                "content": _content(operation, schema_of),
            },
            "default": {"description": "A failure, with what to do.", "content": error},
        },
    }
    if operation.scope is not None:
        described["security"] = [{"key": []}, {}]
        described["description"] = f"Needs the scope `{operation.scope}`."
    if operation.request is not None:
        described["requestBody"] = {"required": True, "content": _body(operation, schema_of)}
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    text = {"type": "string"}
    in_path = [
        {"name": name, "in": "path", "required": True, "schema": text}
        for name in _PATH_PARAMETER.findall(operation.path)
    ]
    in_query = [{"name": name, "in": "query", "schema": text} for name in operation.query or ()]
    return [*in_path, *in_query]


def _content(operation: Operation, schema_of: dict[int, Any]) -> dict[str, Any]:
    if operation.response is None:
        return {"text/plain": {"schema": {"type": "string"}}}
    content: dict[str, Any] = {"application/json": {"schema": schema_of[id(operation.response)]}}
    if operation.csv:
        content["text/csv"] = {"schema": {"type": "string"}}
    if operation.streams:
        events = [schema_of[id(event)] for event in (*_EVENTS, ErrorResponse)]
        content["text/event-stream"] = {
            "schema": {"type": "string"},
            "x-event-data": {"oneOf": events},
        }
    return content


def _body(operation: Operation, schema_of: dict[int, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": schema_of[id(operation.request)]}}
    if operation.uploads:
        files = {"type": "array", "items": {"type": "string", "format": "binary"}}
        content["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "required": ["file"],
                "properties": {
                    "file": files,
                    "collection": {"type": "string"},
                    "access": {"type": "array", "items": {"type": "string"}},
                },
            }
        }
    return content
