"""Use the server from OpenAI's own Python client (`pip install openai`).

    python examples/02_openai_client.py "Can I collect my order in a store?"

The model's name chooses the application and the collection: `ragstone`, `ragstone/help` or
`help`. Citations come in the extra field `ragstone` of the completion.
"""

import argparse
import os

from openai import OpenAI


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("question", nargs="?", default="Can I collect my order in a store?")
    parser.add_argument("--model", default="ragstone")
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    options = parser.parse_args()

    # The client insists on a key; a server without keys does not look at it.
    key = os.environ.get("RAGSTONE_API_KEY", "none")
    client = OpenAI(base_url=f"{options.url}/v1", api_key=key)
    stream = client.chat.completions.create(
        model=options.model,
        messages=[{"role": "user", "content": options.question}],
        stream=True,
    )
    for chunk in stream:
        if chunk.choices and chunk.choices[0].delta.content:
            print(chunk.choices[0].delta.content, end="", flush=True)
        extra = (chunk.model_extra or {}).get("ragstone")
        if extra:
            print("\n")
            for citation in extra["citations"]:
                print(f"[{citation['number']}] {citation['title']}: {citation['text']}")


if __name__ == "__main__":
    main()
