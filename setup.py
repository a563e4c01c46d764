"""Give setuptools the version, which package.xml alone states, and the messages; the rest is in pyproject.toml."""

from pathlib import Path
from shutil import copytree
from xml.etree import ElementTree

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class WithMessages(build_py):
    """Put msg/ into the package: recordings are written with its types where there is no ROS."""

    def run(self) -> None:
        """Build; an editable install reads msg/ where it is."""
        super().run()
        if not self.editable_mode:
            copytree(ROOT / "msg", Path(self.build_lib) / "uop3d_core" / "msg", dirs_exist_ok=True)


package = ElementTree.parse(ROOT / "package.xml").getroot()
setup(version=package.findtext("version"), cmdclass={"build_py": WithMessages})
