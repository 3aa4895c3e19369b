"""`init`, `serve` and `demo`: what they set up, and how they fail."""

import json
import subprocess
import sys
from pathlib import Path

from tests.cli.conftest import Run, Served


def test_init_on_a_folder_with_a_server_says_that_it_is_set_up(run: Run, served: Served) -> None:
    result = run("init")
    assert result.returncode == 0
    assert f"Already set up, and served at {served.url}." in result.stdout
    assert set(json.loads(run("init", "--json").stdout)) == {"home", "embedder"}


def test_init_makes_the_folder_with_a_settings_file(run: Run, tmp_path: Path) -> None:
    result = run("init")
    assert result.returncode == 0
    assert "Next: ragstone ingest" in result.stdout
    assert (tmp_path / "home" / "ragstone.toml").is_file()


def test_a_home_that_cannot_be_a_folder_is_one_sentence(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    for home in ("file", "file/below"):
        for command in (["demo", "--port", "0"], ["init"]):
            result = run("--home", home, *command)
            assert result.returncode == 1
            assert "[home_not_writable]" in result.stderr
            assert "Traceback" not in result.stderr


def test_a_demo_whose_ingestion_fails_ends_with_its_sentence(run: Run, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "sample").write_text("in the way of the sample corpus")
    result = run("demo", "--port", "0", "--products", "1")
    assert result.returncode == 1
    assert "The sample corpus cannot be written" in result.stderr
    assert "[home_not_writable]" in result.stderr
    assert "Traceback" not in result.stderr
    assert not (home / "server.json").exists()


def test_servers_say_their_address_to_programs_in_one_line(
    environment: dict[str, str], tmp_path: Path
) -> None:
    for command in (["serve"], ["demo", "--products", "1"]):
        process = subprocess.Popen(
            [sys.executable, "-m", "ragstone.cli", *command, "--port", "0", "--json"],
            cwd=tmp_path,
            env={**environment, "RAGSTONE_HOME": str(tmp_path / command[0])},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline())["url"].startswith("http://127.0.0.1:")
        finally:
            process.kill()
            process.communicate()
