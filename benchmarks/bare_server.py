"""The least that answers a question: embed, search, call the model, reply.

What `answers.py` compares with. The same embedder with the same threads, the same index with
the same request (hybrid, under an access condition), a prompt of the same size, the model
called through aiohttp and its stream decoded; raw ASGI under uvicorn on uvloop. There is no
routing, authentication, admission, deadline, budget, cache, citation check, metric or log.
Prints its port as the first line.

    python benchmarks/bare_server.py INDEX_FOLDER MODEL_URL [--collection products]
"""

import argparse
import asyncio
import socket
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import uvicorn
import uvloop

from ragstone.apps import ASSISTANT
from ragstone.domain.passage import Passage
from ragstone.domain.principal import Principal
from ragstone.domain.query import FusionSettings, SearchRequest
from ragstone.index.qdrant_edge import QdrantEdgeIndex
from ragstone.models.embedders.onnx_minilm import MiniLmEmbedder
from ragstone.settings import Settings

TOP_K = Settings().retrieval.top_k


class _Question(msgspec.Struct):
    question: str


class _Delta(msgspec.Struct):
    content: str = ""


class _Choice(msgspec.Struct):
    delta: _Delta


class _Chunk(msgspec.Struct):
    choices: list[_Choice]


class _Reply(msgspec.Struct):
    answer: str
    passages: list[Passage]


_question = msgspec.json.Decoder(_Question)
_chunk = msgspec.json.Decoder(_Chunk)


class BareServer:
    """The ASGI application."""

    def __init__(
        self,
        embedder: MiniLmEmbedder,
        index: QdrantEdgeIndex,
        session: aiohttp.ClientSession,
        model_url: str,
        collection: str,
    ) -> None:
        self._embedder = embedder
        self._index = index
        self._session = session
        self._model_url = f"{model_url}/chat/completions"
        self._collection = collection
        self._principal = Principal(tenant="default", user="local")
        self._fusion = FusionSettings()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        raw = b""
        while True:
            message = await receive()
            raw += message["body"]
            if not message["more_body"]:
                break
        body = msgspec.json.encode(await self._answer(_question.decode(raw).question))
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, question: str) -> _Reply:
        vector = await self._embedder.embed_query(question)
        request = SearchRequest(
            collection=self._collection,
            vector=vector,
            text=question,
            limit=TOP_K,
            fusion=self._fusion,
        )
        passages = (await self._index.search(self._principal, request)).passages
        return _Reply(await self._generate(question, passages), passages)

    async def _generate(self, question: str, passages: list[Passage]) -> str:
        evidence = "\n\n".join(
            f"[{number}] {passage.title}\n{passage.text}"
            for number, passage in enumerate(passages, start=1)
        )
        prompt = {
            "model": "instant",
            "messages": [
                {"role": "system", "content": ASSISTANT.system_prompt},
                {"role": "user", "content": f"{evidence}\n\n{question}"},
            ],
            "stream": True,
        }
        data = msgspec.json.encode(prompt)
        text = ""
        async with self._session.post(self._model_url, data=data) as response:
            for line in (await response.read()).split(b"\n\n"):
                if line.startswith(b"data: {"):
                    choices = _chunk.decode(line[6:]).choices
                    text += choices[0].delta.content if choices else ""
        return text


async def serve(index_folder: Path, model_url: str, collection: str) -> None:
    embedder = MiniLmEmbedder(threads=Settings().embedder.threads)
    index = QdrantEdgeIndex(index_folder)
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256)) as session:
        app = BareServer(embedder, index, session, model_url, collection)
        config = uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
        )
        print(listener.getsockname()[1], flush=True)
        try:
            await uvicorn.Server(config).serve(sockets=[listener])
        finally:
            await asyncio.gather(embedder.close(), index.close())


def main() -> None:
    parser = argparse.ArgumentParser(description="Embed, search, call the model, reply")
    parser.add_argument("index", type=Path)
    parser.add_argument("model_url")
    parser.add_argument("--collection", default="products")
    arguments = parser.parse_args()
    uvloop.run(serve(arguments.index, arguments.model_url, arguments.collection))


if __name__ == "__main__":
    main()
