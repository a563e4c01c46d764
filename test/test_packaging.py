"""The package says one thing about itself in all places."""

import shutil
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ElementTree.parse(ROOT / "package.xml").getroot()
UOP3D = distribution("uop3d")


def test_version_is_that_of_package_xml():
    assert UOP3D.version == PACKAGE.findtext("version")


def test_license():
    assert PACKAGE.findtext("license") == UOP3D.metadata["License-Expression"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text and "END OF TERMS AND CONDITIONS" in text


def test_entry_points_are_declared():
    assert ("console_scripts", "uop3d") in {(entry.group, entry.name) for entry in UOP3D.entry_points}


@pytest.mark.parametrize("entry", UOP3D.entry_points, ids=lambda entry: entry.name)
def test_entry_point_target_exists(entry):
    assert callable(entry.load())


def test_messages_and_pages_are_installed(tmp_path: Path):
    source, built = tmp_path / "source", tmp_path / "built"
    for name in ("setup.py", "pyproject.toml", "package.xml", "README.md", "LICENSE", "MANIFEST.in"):
        source.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, source / name)
    for name in ("msg", "uop3d_core/bags", "uop3d_core/report"):
        shutil.copytree(ROOT / name, source / name)
    (source / "uop3d_core/__init__.py").write_text("")
    shutil.copy(ROOT / "uop3d_core/py.typed", source / "uop3d_core/py.typed")
    command = [
        sys.executable,
        "setup.py",
        "-q",
        "build",
        "--build-base",
        str(tmp_path / "b"),
        "--build-lib",
        str(built),
    ]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    assert (built / "uop3d_core/py.typed").is_file()
    names = {path.name for path in (ROOT / "msg").glob("*.msg")}
    assert {path.name for path in (built / "uop3d_core/msg").glob("*.msg")} == names != set()
    assert {path.name for path in (built / "uop3d_core/report").glob("page.*")} == {
        f"page.{x}" for x in ("py", "html", "css", "js")
    }
