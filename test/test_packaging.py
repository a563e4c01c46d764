"""The package says one thing about itself in all places."""

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
