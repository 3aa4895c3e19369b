"""Search by meaning among the documents whose metadata fits.

    python examples/04_filters.py

Needs the products of the demo (`make demo`). On a list field, a condition holds when any of
its elements satisfies it. A field that no document has is refused, not ignored.
"""

import argparse
import json
import os
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def search(url: str, body: dict[str, Any]) -> list[dict[str, Any]]:
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("RAGSTONE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = Request(f"{url}/v1/search", json.dumps(body).encode(), headers)
    try:
        with urlopen(request) as response:
            found: list[dict[str, Any]] = json.load(response)["passages"]
            return found
    except HTTPError as error:
        raise SystemExit(json.load(error)["error"]["message"]) from None


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("query", nargs="?", default="something light for a garden party")
    parser.add_argument("--max-price", type=float, default=150)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    options = parser.parse_args()
    passages = search(
        options.url,
        {
            "query": options.query,
            "collection": "products",
            "top_k": 5,
            "filters": [
                {"field": "price", "lte": options.max_price},
                {"field": "group", "any_of": ["clothing"]},
                {"field": "pattern", "none_of": ["floral"]},
            ],
        },
    )
    for passage in passages:
        metadata = passage["metadata"]
        print(f"EUR {metadata['price']:>7.2f}  {metadata['pattern']:<10} {passage['title']}")


if __name__ == "__main__":
    main()
