"""Ask a question and print the answer as it comes. Needs nothing but Python.

    python examples/01_ask.py "Can I collect my order in a store?"

The server sends typed events: `passages`, then `delta`s with the text, `citations`, and one
`done` or `error` at the end.
"""

import argparse
import json
import os
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen


def events(url: str, question: str, collection: str | None) -> Iterator[dict[str, Any]]:
    body = {"question": question, "collection": collection, "stream": True}
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("RAGSTONE_API_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    request = Request(f"{url}/v1/answers", json.dumps(body).encode(), headers)
    with urlopen(request) as response:
        for line in response:
            if line.startswith(b"data: "):
                yield json.loads(line.removeprefix(b"data: "))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("question", nargs="?", default="Can I collect my order in a store?")
    parser.add_argument("--collection")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    options = parser.parse_args()
    try:
        for event in events(options.url, options.question, options.collection):
            if "error" in event:
                raise SystemExit(event["error"]["message"])
            if event["type"] == "delta":
                print(event["text"], end="", flush=True)
            elif event["type"] == "citations":
                print("\n")
                for citation in event["citations"]:
                    print(f"[{citation['number']}] {citation['title']}: {citation['text']}")
    except HTTPError as error:  # before the first event, an error is an ordinary response
        raise SystemExit(json.load(error)["error"]["message"]) from None


if __name__ == "__main__":
    main()
