"""Writes the golden OpenAPI document that the tests compare with."""

from pathlib import Path

import msgspec

from ragstone.server.openapi import openapi_document

if __name__ == "__main__":
    target = Path(__file__).parents[1] / "tests" / "server" / "golden" / "openapi.json"
    encoded = msgspec.json.encode(openapi_document(), order="sorted")
    target.write_bytes(msgspec.json.format(encoded, indent=1) + b"\n")
