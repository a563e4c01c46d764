"""What the viewer shows of runs and of captures."""

import json
import shutil

import numpy as np
import pytest
from scenes import mask_iou
from small import align_mugs, tiny_mugs

from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.geometry import inverse_rigid, umeyama
from uop3d_core.pipeline.showing import MOST_CAMERAS, scene_of_captures, scene_of_run
from uop3d_core.pipeline.viewing import AlignedRun
from uop3d_core.runs import Run
from uop3d_core.types import Sim3


@pytest.fixture(scope="module")
def mugs(tmp_path_factory):
    return tiny_mugs(tmp_path_factory.mktemp("captures"), 2)


@pytest.fixture(scope="module")
def aligned(mugs, tmp_path_factory):
    return align_mugs(mugs, tmp_path_factory.mktemp("runs") / "mug")


@pytest.fixture
def run(mugs, aligned, tmp_path):
    shutil.copytree(aligned, tmp_path / "run")
    return tmp_path / "run"


def test_a_run_in_its_common_frame(run):
    scene = scene_of_run(run)
    assert scene.title == "mug" and scene.common and scene.template is not None
    assert {thing.name for thing in scene.things} == {"mug_00", "mug_01"}
    for thing in scene.things:
        assert thing.colours.shape == thing.mesh.vertices.shape
        assert 0.5 < thing.mesh.diameter < 2 and len(thing.cameras) == 6
        for shown in thing.cameras:  # every camera looks at the middle
            middle = inverse_rigid(shown.thing_T_cam)[:3, 3]
            assert middle[2] > 0 and np.linalg.norm(middle[:2]) < 0.5 * middle[2]
            assert max(shown.image.shape) == 160


def test_rejected_ones_say_why(run):
    path = Run(run).alignment
    content = json.loads(path.read_text())
    content["captures"]["mug_00"] |= {"accepted": False, "reason": "too odd"}
    path.write_text(json.dumps(content))
    scene = scene_of_run(run, colour="place")
    assert [(t.name, t.accepted) for t in scene.things] == [("mug_01", True), ("mug_00", False)]
    assert "too odd" in scene.things[1].note
    assert scene_of_run(run, ["mug_00"]).things[0].name == "mug_00"


def test_what_is_missing_is_told(run):
    Run(run).mesh("mug_00").unlink()
    scene = scene_of_run(run, colour="clay")
    assert [thing.name for thing in scene.things] == ["mug_01"] and scene.things[0].colours is None
    assert any("mug_00 is not shown" in note for note in scene.notes)
    Run(run).mesh("mug_01").unlink()
    with pytest.raises(ValueError, match="nothing of it can be shown"):
        scene_of_run(run, colour="clay")
    with pytest.raises(ValueError, match="no aligned capture 'cup'"):
        scene_of_run(run, ["cup"])


def test_a_run_whose_captures_are_gone(run):
    path = Run(run).record_path
    path.write_text(json.dumps({**json.loads(path.read_text()), "captures_folder": str(run / "gone")}))
    scene = scene_of_run(run)
    assert [(thing.cameras, thing.points, thing.colours) for thing in scene.things] == [((), None, None)] * 2
    assert any("not there any more" in note for note in scene.notes)
    with pytest.raises(FileNotFoundError, match="put them back"):
        AlignedRun(run).capture("mug_00")


def test_captures_stand_upright(mugs):
    scene = scene_of_captures([mugs])
    assert not scene.common and scene.template is None and len(scene.things) == 2
    for thing in scene.things:
        assert thing.mesh.diameter == pytest.approx(1) and len(thing.cameras) <= MOST_CAMERAS
        assert np.mean([shown.thing_T_cam[2, 3] for shown in thing.cameras]) > 0.2  # filmed from above
    capture = read_nerfstudio(mugs / "mug_00")
    assert mask_iou(scene_mesh_in_world(scene.things[0], capture), capture).mean() > 0.8


def scene_mesh_in_world(thing, capture):
    """The surface carried back by its cameras: where they are here, against where they are in the capture."""
    here = np.array([shown.thing_T_cam[:3, 3] for shown in thing.cameras])
    there = np.array([inverse_rigid(frame.cam_T_world)[:3, 3] for frame in capture.frames])
    return thing.mesh.transformed(Sim3(*umeyama(here, there)))


def test_captures_that_cannot_be_viewed(mugs, tmp_path):
    with pytest.raises(ValueError, match="same name"):
        scene_of_captures([mugs, mugs / "mug_00"])
    with pytest.raises(ValueError, match="no common template"):
        scene_of_captures([mugs], "place")
    with pytest.raises(FileNotFoundError, match="no captures here"):
        scene_of_captures([tmp_path])
