"""The command `view`: a process that serves until it is interrupted."""

import os
import re
import signal
import subprocess
import sys
import urllib.request

import pytest
from small import tiny_mugs
from typer.testing import CliRunner

from uop3d_core.cli import app

pytest.importorskip("viser", reason="the extra viewer is not installed")


@pytest.fixture(scope="module")
def mugs(tmp_path_factory):
    return tiny_mugs(tmp_path_factory.mktemp("captures"), 2)


def test_it_serves_until_it_is_interrupted(mugs):
    command = [sys.executable, "-m", "uop3d_core.cli", "view", str(mugs), "--port", "0", "--colour", "clay"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "200"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            address = re.search(r"http://127\.0\.0\.1:\d+", line)
            assert address, line
            with urllib.request.urlopen(address.group(), timeout=30) as answer:
                assert answer.status == 200
        finally:
            process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{mugs}", "--only", "mug_00"], "--only chooses captures of a run"),
        (["{mugs}", "{run}"], "view it alone"),
        (["{mugs}/nothing"], "no such folder"),
        (["{mugs}", "--colour", "red"], "unknown colour 'red'"),
        (["{run}"], "run.json"),
    ],
)
def test_what_cannot_be_viewed(mugs, tmp_path, arguments, message):
    (tmp_path / "run.json").write_text("{}")
    given = [text.format(mugs=mugs, run=tmp_path) for text in arguments]
    result = CliRunner().invoke(app, ["view", *given])
    assert result.exit_code == 1 and message in " ".join(result.output.split())


def test_without_viser_the_extra_is_named(mugs, monkeypatch):
    monkeypatch.setitem(sys.modules, "viser", None)
    result = CliRunner().invoke(app, ["view", str(mugs)])
    assert result.exit_code == 1 and "uop3d[viewer]" in result.output
