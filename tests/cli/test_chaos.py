"""`ragstone chaos` as a person runs it."""

import json


def test_the_list_says_what_is_done_and_why_some_do_not_apply(run) -> None:
    scenarios = {one["name"]: one for one in json.loads(run("chaos", "list", "--json").stdout)}
    assert scenarios["overload"]["faults"] == [1]
    assert scenarios["index-shard-missing"]["not_applicable"]
    told = run("chaos", "list").stdout.splitlines()
    line = next(line for line in told if line.lstrip().startswith("overload"))
    assert scenarios["overload"]["expects"] in line  # a program reads whole lines


def test_one_that_does_not_apply_is_no_failure(run, tmp_path) -> None:
    page = tmp_path / "chaos.html"
    ended = run("chaos", "run", "index-shard-missing", "--report", str(page))
    assert ended.returncode == 0
    assert "not_applicable" in ended.stdout
    assert "does not apply" in page.read_text()


def test_what_cannot_be_is_a_sentence(run) -> None:
    assert "Did you mean 'overload'?" in run("chaos", "run", "overlod").stderr
    assert "Say which scenarios" in run("chaos", "run").stderr
    assert "not both" in run("chaos", "run", "overload", "--all").stderr
