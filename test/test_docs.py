"""The worked examples in the documents are true."""

import doctest
from pathlib import Path

DOCS = Path(__file__).resolve().parent.parent / "docs"


def test_conventions_example():
    result = doctest.testfile(str(DOCS / "conventions.md"), module_relative=False)
    assert result.attempted > 0
    assert result.failed == 0
