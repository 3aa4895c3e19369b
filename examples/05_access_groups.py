"""Two keys, two views: what a key's groups may not read is not found, not listed, not cited.

    python examples/05_access_groups.py

Starts a server of its own on a throw-away data folder, because the first key that a server
gets closes it to everybody without one.
"""

import json
import subprocess
import sys
import tempfile
import time
from typing import Any
from urllib.request import Request, urlopen

DOCUMENTS = {
    "*": {
        "id": "opening",
        "title": "Opening hours",
        "text": "The shop opens at 9:00 and closes at 18:00.",
    },
    "group:staff": {
        "id": "alarm",
        "title": "Alarm",
        "text": "The alarm is armed at 18:30. The last person in the shop arms it.",
    },
}


def call(url: str, method: str, path: str, key: str | None, body: object = None) -> Any:
    headers = {"Content-Type": "application/json"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url + path, data, headers, method=method)) as response:
        return json.load(response)


def make_key(url: str, by: str | None, scopes: list[str], groups: list[str]) -> str:
    made = call(url, "POST", "/v1/keys", by, {"scopes": scopes, "groups": groups})
    return str(made["secret"])


def show(url: str) -> None:
    admin = make_key(url, None, ["admin"], [])
    customer = make_key(url, admin, ["ask"], [])
    colleague = make_key(url, admin, ["ask"], ["staff"])

    for reader, document in DOCUMENTS.items():
        body = {"collection": "shop", "documents": [document], "access": [reader]}
        job = call(url, "POST", "/v1/documents", admin, body)["jobs"][0]
        while job["state"] in ("queued", "running"):
            time.sleep(0.1)
            job = call(url, "GET", f"/v1/jobs/{job['id']}", admin)

    question = {"question": "When is the alarm armed?", "collection": "shop"}
    for name, key in (("customer", customer), ("colleague", colleague)):
        answer = call(url, "POST", "/v1/answers", key, question)
        print(f"{name}: {answer['answer']}")


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        command = [sys.executable, "-m", "ragstone.cli", "--home", home, "serve", "--port", "0"]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        try:
            assert server.stderr is not None
            for line in server.stderr:
                if line.startswith("Ragstone serves "):
                    show(line.split()[2])
                    return
            raise SystemExit("The server did not start.")
        finally:
            server.terminate()
            server.communicate()


if __name__ == "__main__":
    main()
