"""The ten names: there, lazy, typed, and their examples are true."""

import ast
import doctest
import importlib
import inspect
from functools import partial
from pathlib import Path

import pytest
import small

import uop3d_core as uop3d
from uop3d_core.config import RunSettings, parse_settings
from uop3d_core.types import Alignment, CaptureAlignment, Sim3

SOURCE = ast.parse(Path(uop3d.__file__).read_text())


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("api")
    return folder, small.learn_mugs(folder)


def test_what_is_imported_for_type_checkers_is_what_is_had():
    [typed] = [node for node in SOURCE.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name)]
    told = {
        alias.asname or alias.name: (node.module, alias.name)
        for node in typed.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert sorted(told) == sorted(uop3d.__all__) and len(told) == 10
    for name, (module, attribute) in told.items():
        assert getattr(uop3d, name) is getattr(importlib.import_module(module), attribute)


def test_names_are_listed_and_others_are_refused():
    assert {*uop3d.__all__, "__version__"} <= set(dir(uop3d))
    assert uop3d.__version__
    with pytest.raises(AttributeError, match=r"no attribute 'PoseEstimater'; it has .*PoseEstimator"):
        uop3d.PoseEstimater  # noqa: B018
    assert (Path(uop3d.__file__).parent / "py.typed").is_file()


@pytest.mark.parametrize("name", uop3d.__all__)
def test_examples(name: str, learned, monkeypatch: pytest.MonkeyPatch):
    folder, result = learned
    monkeypatch.chdir(folder)
    thing = getattr(uop3d, name)
    scope = dict(vars(inspect.getmodule(thing)))
    if name == "learn":  # the examples do not say how small the settings are
        scope["learn"] = partial(thing, settings=parse_settings(RunSettings, small.SETTINGS, "test"), engine="serial")
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    tests = [test for test in doctest.DocTestFinder(recurse=False).find(thing, name, globs=scope) if test.examples]
    assert len(tests) == 1
    assert runner.run(tests[0]).failed == 0


def test_objects_say_what_they_are(learned):
    folder, result = learned
    capture = uop3d.read_capture(folder / "captures/mug/mug_01")
    assert repr(capture.frames[0]) == "<Frame 0000: 96 x 96 pixels, pose and mask known>"
    assert capture.frames[0]._repr_png_()[:4] == b"\x89PNG"
    assert capture._repr_html_().count("<img ") == 4
    run = result.aligned.run
    template = run.read_template(run.read_alignment())
    assert repr(template).startswith("<Template mug: Mesh: ") and " vertices, " in repr(template)
    assert "3 of 3 captures accepted" in repr(result) and result.model == run.model
    assert "<td>mug_02</td>" in result._repr_html_()
    assert "learned from 3 captures, hog on cpu" in repr(uop3d.PoseEstimator.load(result.model))


def test_what_comes_from_files_is_escaped_in_notebooks():
    entry = CaptureAlignment(Sim3.identity(), 0.1, False, "<b>no</b>")
    html = Alignment("<i>", "x", {"<script>": entry}, ("<p>",))._repr_html_()
    assert "<script>" not in html and "<b>" not in html and "<p>" not in html and "<i>" not in html
