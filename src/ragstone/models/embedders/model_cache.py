"""The built model, kept in a folder so that it is built once and needs no network again.

Three files: the graph (its name carries the build version, the digest of the weights and the
bits of a weight), its SHA-256 beside it, and the tokenizer. Each is checked whenever it is
read, and built anew when it is damaged. Each appears by an atomic rename, under a lock, so
that processes may start together.
"""

import fcntl
import hashlib
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from ragstone.domain.errors import ModelFilesMissing
from ragstone.models.embedders.weights import (
    HUB_URL,
    MODEL_SHA256,
    TOKENIZER_SHA256,
    WeightFiles,
    published_weights,
)

BUILD_VERSION = 2
"""Raised by every change of `minilm_graph`, so that an earlier build is not taken for it."""


class BuiltModel(msgspec.Struct, frozen=True):
    """What an embedder loads, its digests checked."""

    graph: bytes
    """A serialised ONNX model."""
    tokenizer: bytes
    """`tokenizer.json`."""


def default_cache_dir() -> Path:
    """`ragstone` in the user's cache folder (XDG Base Directory: `~/.cache`)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "ragstone"


def built_model(
    cache_dir: Path | None = None,
    *,
    weights_dir: Path | None = None,
    hub_url: str = HUB_URL,
    on_build: Callable[[], None] | None = None,
) -> BuiltModel:
    """The model from `cache_dir`, or built into it from the published weights (about a second).

    `on_build` is called when a build begins. Blocks. Raises `ModelFilesMissing` when it has to
    be built and no source of the weights serves, or the folder cannot be written.
    """
    folder = default_cache_dir() if cache_dir is None else cache_dir
    bits = weight_bits()
    names = _Names(bits)
    if (model := _read(folder, names)) is not None:
        return model
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / f"{names.graph}.lock"):
            if (model := _read(folder, names)) is None:
                if on_build is not None:
                    on_build()
                with published_weights(weights_dir=weights_dir, hub_url=hub_url) as files:
                    model = _build(files, bits)
                _write(folder, names, model)
    except OSError as error:
        raise ModelFilesMissing(
            f"The embedding model cannot be kept in {folder}: {error.strerror or error}.",
            remedy="Set embedder.cache_dir to a folder that can be written.",
        ) from error
    return model


def weight_bits(machine: str | None = None, cpu_info: str | None = None) -> int:
    """8 where the processor sums int8 products in 32 bits, 7 on x86 that has no VNNI.

    The arguments stand for this machine's name and `/proc/cpuinfo`, for tests.
    """
    machine = platform.machine() if machine is None else machine
    if machine.lower() not in ("x86_64", "amd64", "i686"):
        return 8
    if cpu_info is None:
        try:
            cpu_info = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
        except OSError:
            cpu_info = ""
    return 8 if "avx512_vnni" in cpu_info or "avx_vnni" in cpu_info else 7


class _Names:
    """File names of one build."""

    def __init__(self, bits: int) -> None:
        stem = "all-MiniLM-L6-v2"
        self.graph = f"{stem}.int8w{bits}.v{BUILD_VERSION}.{MODEL_SHA256[:12]}.onnx"
        self.digest = f"{self.graph}.sha256"
        self.tokenizer = f"{stem}.{TOKENIZER_SHA256[:12]}.tokenizer.json"


def _read(folder: Path, names: _Names) -> BuiltModel | None:
    """The files as they are kept; None when one is absent, unreadable or damaged."""
    try:
        expected = (folder / names.digest).read_text(encoding="ascii", errors="replace").strip()
        graph = (folder / names.graph).read_bytes()
        tokenizer = (folder / names.tokenizer).read_bytes()
    except OSError:
        return None
    if hashlib.sha256(graph).hexdigest() != expected:
        return None
    if hashlib.sha256(tokenizer).hexdigest() != TOKENIZER_SHA256:
        return None
    return BuiltModel(graph, tokenizer)


def _build(files: WeightFiles, bits: int) -> BuiltModel:
    # Imported here: they cost more than the rest of a start, and a start rarely builds.
    from safetensors.numpy import load_file

    from ragstone.models.embedders.minilm_graph import build_graph

    graph = build_graph(load_file(files.model), weight_bits=bits)
    return BuiltModel(graph, files.tokenizer.read_bytes())


def _write(folder: Path, names: _Names, model: BuiltModel) -> None:
    digest = hashlib.sha256(model.graph).hexdigest()
    _replace(folder / names.tokenizer, model.tokenizer)
    _replace(folder / names.graph, model.graph)
    _replace(folder / names.digest, f"{digest}\n".encode())


def _replace(target: Path, content: bytes) -> None:
    """Called under the lock, so the temporary file, of fixed name, has one writer."""
    temporary = target.with_name(f".{target.name}.partial")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(target)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Held by one process or thread at a time; the kernel lets go of it if that one dies."""
    with path.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
