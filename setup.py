"""Give setuptools the version, which package.xml alone states; everything else is in pyproject.toml."""

from pathlib import Path
from xml.etree import ElementTree

from setuptools import setup

package = ElementTree.parse(Path(__file__).resolve().parent / "package.xml").getroot()
setup(version=package.findtext("version"))
