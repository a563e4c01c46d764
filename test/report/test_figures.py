"""Figures have the size that was asked for, and what is drawn lies where it is."""

import numpy as np
import pytest
from PIL import Image
from scenes import sphere
from truthful import CAM_T_OBJ, CAMERA

from uop3d_core.cameras import pixels_of
from uop3d_core.config import PictureSettings
from uop3d_core.geometry import transform
from uop3d_core.images import mask_box
from uop3d_core.report.figures import (
    AXIS_KEYS,
    Key,
    Panel,
    compose,
    draw_poses,
    legend,
    panel_width,
    pose_keys,
    print_width,
    windowed,
    write_figure,
)
from uop3d_core.report.overlay import EDGE
from uop3d_core.report.shading import ShadedMesh
from uop3d_core.types import Detection, PoseEstimate

SETTINGS = PictureSettings(width_mm=60, dpi=150, columns=3)


def panels(count, height=40, settings=SETTINGS):
    width = panel_width(settings, count)
    return [Panel(np.full((height, width, 3), 10 * i, np.uint8), f"frame {i}") for i in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7])
def test_as_wide_as_asked_for(count):
    figure = compose(panels(count), AXIS_KEYS, SETTINGS)
    assert figure.shape[1] == print_width(SETTINGS) == round(60 / 25.4 * 150)
    for index in range(count):
        assert (figure == 10 * index).all(-1).sum() >= 40 * panel_width(SETTINGS, count)


def test_a_caption_stands_below_and_is_cut_to_fit():
    [panel] = panels(1)
    long = Panel(panel.picture, "name " * 60, True)
    figure = compose([long], (), SETTINGS)
    assert figure.shape[1] == print_width(SETTINGS)
    red = (figure[41:].astype(int) @ [1, -1, 0]) > 100
    assert red.any()


def test_a_legend_breaks_into_rows_and_shows_its_signs():
    keys = [*pose_keys(True, 0.2), Key("a picture", picture=np.full((30, 30, 3), 77, np.uint8))]
    wide, narrow = legend(keys, 2000, SETTINGS), legend(keys, 200, SETTINGS)
    assert wide.shape[1] == 2000 and narrow.shape[1] == 200 and narrow.shape[0] > wide.shape[0]
    for key in AXIS_KEYS:
        assert (wide == key.colour).all(-1).any()
    assert (wide == 77).all(-1).sum() == 900


def test_there_must_be_pictures_and_they_must_fit():
    with pytest.raises(ValueError, match="at least one"):
        compose([], AXIS_KEYS, SETTINGS)
    with pytest.raises(ValueError, match="pixels wide"):
        compose([Panel(np.zeros((5, 5, 3), np.uint8))], AXIS_KEYS, SETTINGS)


@pytest.mark.parametrize("box", [None, [100, 60, 180, 140], [-30, -30, 40, 40], [250, 180, 340, 260], [0, 0, 500, 400]])
def test_a_window_keeps_pixels_and_camera_together(box):
    ys, xs = np.mgrid[:240, :320]
    image = np.stack([xs * 0.75, ys * 0.75, 0 * xs], -1).round().astype(np.uint8)
    points = transform(CAM_T_OBJ, sphere(0.3, 2).vertices)
    picture, camera = windowed(image, CAMERA, None if box is None else np.array(box, float), 400)
    assert picture.shape == (camera.height, camera.width, 3) and camera.width == 400
    before, after = pixels_of(CAMERA, points), pixels_of(camera, points)
    inside = ((after > 3) & (after < [camera.width - 4, camera.height - 4])).all(1)
    columns, rows = np.rint(after[inside]).astype(int).T
    np.testing.assert_allclose(picture[rows, columns, :2] / 0.75, before[inside], atol=2)


def test_poses_are_drawn_where_they_are():
    mesh = sphere(0.4, 4)
    picture, camera = windowed(np.zeros((240, 320, 3), np.uint8), CAMERA, None, 640)
    estimate = PoseEstimate(Detection([0, 0, 10, 10]), CAM_T_OBJ, float("nan"))
    drawn = draw_poses(picture, camera, ShadedMesh(mesh), [estimate], [np.array([0, 0, 9, 9])], 2.0, 0.0)
    contour = mask_box((drawn == EDGE).all(-1))
    uv = pixels_of(camera, transform(CAM_T_OBJ, mesh.vertices))
    np.testing.assert_allclose(contour, [*uv.min(0), *uv.max(0)], atol=2.5)
    nothing = PoseEstimate(Detection([0, 0, 10, 10]), np.eye(4), 0.0, found=False)
    lost = draw_poses(picture, camera, ShadedMesh(mesh), [nothing], [np.array([100.0, 100, 200, 200])], 2.0, 0.2)
    assert lost[150, 150].max() == 0 and lost[95:205].max() > 200


@pytest.mark.parametrize("ending", [".png", ".jpg", ".pdf", ".tif"])
def test_files_know_their_resolution(tmp_path, ending):
    figure = compose(panels(2), AXIS_KEYS, SETTINGS)
    write_figure(tmp_path / f"figure{ending}", figure, SETTINGS)
    if ending == ".pdf":
        assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
        return
    with Image.open(tmp_path / f"figure{ending}") as image:
        assert image.size == figure.shape[1::-1]
        np.testing.assert_allclose([float(v) for v in image.info["dpi"]], 150, atol=0.1)


def test_names_that_are_no_pictures(tmp_path):
    figure = compose(panels(1), AXIS_KEYS, SETTINGS)
    with pytest.raises(ValueError, match=r"must end with \.png"):
        write_figure(tmp_path / "figure.svg", figure, SETTINGS)
    with pytest.raises(IsADirectoryError, match="picture.png"):
        write_figure(tmp_path, figure, SETTINGS)
    assert list(tmp_path.iterdir()) == []
