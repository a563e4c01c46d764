"""Pictures show what they should where they should."""

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from uop3d_core.cameras import pixels_of
from uop3d_core.geometry import transform
from uop3d_core.report.orientation import side_view
from uop3d_core.report.overlay import AXES, MIN_SIDE, Overlay, draw_axes, enlarged
from uop3d_core.report.shading import ShadedMesh, outline
from uop3d_core.report.sheets import CORNER, VIEWS, contact_sheet, draw_alignment, draw_template
from uop3d_core.report.tiles import COMPASS, WRONG, with_compass
from uop3d_core.types import Alignment, Camera, CaptureAlignment, Detection, Mesh, PoseEstimate, Sim3, Template

FRONT_VIEW = np.array([[0.0, 1, 0, 0], [0, 0, -1, 0], [-1, 0, 0, 4], [0, 0, 0, 1]])
"""A camera before the object: its left is on the right, its top is up."""


@pytest.fixture(scope="module")
def template():
    box = trimesh.creation.box((0.6, 0.4, 0.8))
    return Template("box", Mesh(box.vertices, box.faces))


@pytest.fixture
def camera():
    return Camera(np.array([[600.0, 0, 149.5], [0, 600, 99.5], [0, 0, 1]]), 300, 200)


def estimate(score=0.75, found=True, cam_T_obj=FRONT_VIEW):
    return PoseEstimate(Detection([100, 30, 200, 170], "box", 0.9), cam_T_obj, score, found=found)


def test_coverage_is_exact(template, camera):
    brightness, coverage = ShadedMesh(template.mesh).draw(camera, FRONT_VIEW)
    near, width, height = 4 - 0.3, 0.4, 0.8  # the front face hides all others
    assert coverage.sum() == pytest.approx((600 * width / near) * (600 * height / near), rel=0.01)
    rows, columns = np.nonzero(coverage > 0.5)
    assert columns.mean() == pytest.approx(149.5, abs=0.5) and rows.mean() == pytest.approx(99.5, abs=0.5)
    assert brightness[coverage > 0].min() > 0


def test_shape_and_axes_through_a_lens(template, camera):
    crooked = replace(camera, lens="brown", distortion=np.array([4.0, 0.0, 0.0, 0.0]))
    coverage = ShadedMesh(template.mesh).draw(crooked, FRONT_VIEW)[1]
    corners = pixels_of(crooked, transform(FRONT_VIEW, template.mesh.vertices))
    rows, columns = np.nonzero(coverage > 0.5)
    np.testing.assert_allclose([columns.min(), columns.max()], [corners[:, 0].min(), corners[:, 0].max()], atol=1)
    assert columns.max() > np.nonzero(ShadedMesh(template.mesh).draw(camera, FRONT_VIEW)[1] > 0.5)[1].max() + 1
    twice = enlarged(crooked, 2)
    np.testing.assert_allclose(pixels_of(twice, transform(FRONT_VIEW, template.mesh.vertices)), 2 * corners + 0.5)


def test_behind_the_camera_nothing_is_drawn(template, camera):
    behind = FRONT_VIEW.copy()
    behind[2, 3] = -4
    assert ShadedMesh(template.mesh).draw(camera, behind)[1].max() == 0


def test_camera_inside_the_object(template, camera):
    inside = FRONT_VIEW.copy()
    inside[2, 3] = 0
    picture = Overlay(template).draw(np.zeros((200, 300, 3), np.uint8), camera, [estimate(cam_T_obj=inside)])
    assert picture.shape[2] == 3


def test_outline_lies_on_the_edge(template, camera):
    coverage = ShadedMesh(template.mesh).draw(camera, FRONT_VIEW)[1]
    line = outline(coverage, 2.0)
    assert line.max() > 0.9 and line[100, 150] == 0 and line[0, 0] == 0
    left = np.flatnonzero(coverage[100] > 0.5)[0]
    assert line[100, left - 1 : left + 2].max() > 0.9
    assert outline(np.zeros((20, 20)), 2.0).max() == 0 and outline(np.ones((20, 20)), 2.0).max() == 0


def test_axes_point_where_the_object_does(camera):
    canvas = draw_axes(np.full((200, 300, 3), 128, np.uint8), camera, FRONT_VIEW, 2.0).astype(int)
    red, green, blue = canvas[..., 0], canvas[..., 1], canvas[..., 2]
    right, up = canvas[99, 190], canvas[50, 149]
    assert right[1] > right[0] + 60 and right[1] > right[2] + 60, "y, the left, is green and on the right"
    assert up[2] > up[0] + 60 and up[2] > up[1] + 60, "z is blue and points up"
    assert not ((red > 200) & (green < 90) & (blue < 90))[:, 170:].any()


def test_overlay_enlarges_small_images(template, camera):
    image = np.full((200, 300, 3), 90, np.uint8)
    picture = Overlay(template).draw(image, camera, [estimate()])
    assert picture.shape == (400, 600, 3) and picture.dtype == np.uint8
    assert (picture[5, 5] == 90).all(), "untouched where nothing is"
    assert (picture[200, 250].astype(int) - 90).max() > 30, "the template is drawn"
    assert (image == 90).all(), "the input is left alone"
    assert enlarged(camera, 2).K[0, 2] == 2 * 149.5 + 0.5


def test_overlay_leaves_large_images_in_size(template):
    camera = Camera(np.array([[900.0, 0, 450], [0, 900, 350], [0, 0, 1]]), 901, 701)
    picture = Overlay(template).draw(np.zeros((701, 901, 3), np.uint8), camera, [estimate()])
    assert picture.shape == (701, 901, 3) and MIN_SIDE < 701


def test_no_pose_is_said(template, camera):
    picture = Overlay(template).draw(np.zeros((200, 300, 3), np.uint8), camera, [estimate(0.0, False, np.eye(4))])
    red = (picture[..., 0] > 200) & (picture[..., 1] < 150)
    assert red.any(), "the box is red"
    assert picture[200, 300].max() == 0, "no template"


def test_contact_sheet():
    tiles = [np.full((20, 30, 3), value, np.uint8) for value in (10, 20, 30)] + [np.full((10, 15, 3), 40, np.uint8)]
    sheet = contact_sheet(tiles, 2, gap=2)
    assert sheet.shape == (2 * 22 + 2, 2 * 32 + 2, 3)
    assert [int(sheet[y, x, 0]) for y, x in ((12, 17), (12, 49), (34, 17), (34, 49))] == [10, 20, 30, 40]
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet([], 3)


def test_alignment_picture_shows_every_capture(template):
    moved = Sim3(2.0, np.eye(3), np.ones(3))
    meshes = {name: template.mesh.transformed(moved) for name in ("a", "b", "far")}
    entries = {name: CaptureAlignment(moved.inverse(), 0.9, True) for name in ("a", "b")}
    away = Sim3(1.0, np.eye(3), np.full(3, 5.0)) @ moved.inverse()
    entries["far"] = CaptureAlignment(away, 0.1, False, "other")
    alignment = Alignment("box", "a", entries)
    three = draw_alignment(alignment, meshes, template)
    two = draw_alignment(Alignment("box", "a", {k: entries[k] for k in "ab"}), meshes, template)
    assert three.shape[1] == two.shape[1] and three.shape[0] > two.shape[0]
    assert draw_template(alignment, meshes, template).shape[2] == 3


def test_alignment_picture_tells_reasons_and_warnings(template):
    """Red text beside a rejected capture, and below the sheet."""

    def picture(accepted, warnings=()):
        entries = {"a": CaptureAlignment(Sim3.identity(), 0.9, True, "", 0.9)}
        reason = "agrees with the others too little " * 20
        entries["b"] = CaptureAlignment(Sim3.identity(), 0.1, accepted, "" if accepted else reason, 0.2)
        return draw_alignment(Alignment("box", "a", entries, warnings), dict.fromkeys(entries, template.mesh), template)

    good, bad, warned = picture(True), picture(False), picture(True, ("two clusters of captures",))
    assert good.shape == bad.shape and warned.shape[0] > good.shape[0]
    labels = [np.all(image[36:, :190].astype(int) - WRONG == 0, axis=2).sum() for image in (good, bad)]
    assert labels[0] == 0 and labels[1] > 20
    assert np.all(warned[good.shape[0] :] == WRONG, axis=2).any()


def test_compass_shows_the_axes_in_the_picture():
    """Seen from the front, y points right and z up."""
    tile = with_compass(np.full((200, 200, 3), 255, np.uint8), VIEWS["front"]).astype(int)
    greens, blues = (np.argwhere(np.abs(tile - AXES[axis]).max(-1) < 60) for axis in (1, 2))
    centre = [200 - COMPASS - 16, COMPASS + 16]
    assert greens[:, 1].max() > centre[1] + COMPASS - 3 and np.abs(greens[:, 0] - centre[0]).mean() < 6
    assert blues[:, 0].min() < centre[0] - COMPASS + 3 and np.abs(blues[:, 1] - centre[1]).mean() < 6


def test_side_views_look_at_the_side_they_name():
    for angle in np.deg2rad([0, 45, 200]):
        direction = np.array([np.cos(angle), np.sin(angle), 0])
        view = side_view(direction)
        np.testing.assert_allclose(view[:3, :3] @ view[:3, :3].T, np.eye(3), atol=1e-12)
        eye = -view[:3, :3].T @ view[:3, 3]
        assert eye @ direction > 0.95 * np.linalg.norm(eye) and eye[2] > 0, "on that side, a little above"
        assert view[1, 2] < -0.9, "upright"


def test_many_captures_go_side_by_side(template):
    entries = {f"c{i:02d}": CaptureAlignment(Sim3.identity(), 0.9, True) for i in range(14)}
    picture = draw_alignment(Alignment("box", "c00", entries), dict.fromkeys(entries, template.mesh), template)
    assert picture.shape[0] < 8 * 230 and picture.shape[1] > 1400


def test_views_are_what_their_names_say():
    views = {**VIEWS, "corner": CORNER}
    for view in views.values():
        np.testing.assert_allclose(view[:3, :3] @ view[:3, :3].T, np.eye(3), atol=1e-12)
        assert np.linalg.det(view[:3, :3]) == pytest.approx(1)
    eyes = {name: -view[:3, :3].T @ view[:3, 3] for name, view in views.items()}
    for name, axis in (("front", 0), ("left side", 1), ("top", 2)):
        assert eyes[name][axis] == pytest.approx(np.linalg.norm(eyes[name]))
    assert (eyes["corner"] > 1).all(), "front, left and above"
