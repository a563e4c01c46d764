"""What the dataclasses refuse, and that they cannot be changed."""

import dataclasses

import numpy as np
import pytest
from scenes import box, square_camera

from uop3d_core.types import Camera, Capture, Detection, Frame, Mesh, PairAlignment, PoseEstimate, Sim3, Surface

CAMERA = square_camera(8)
IMAGE, MASK = np.zeros((8, 8, 3), np.uint8), np.ones((8, 8), bool)
MIRROR = np.diag([1.0, 1.0, -1.0])
NAN = float("nan")


def frame(**changes):
    values = {"name": "f7", "camera": CAMERA, "image_source": IMAGE, "cam_T_world": np.eye(4), "mask_source": MASK}
    return Frame(**{**values, **changes})


def surface(**changes):
    values = {
        "name": "s",
        "mesh": box(),
        "features": np.zeros((8, 2, 5)),
        "valid": np.ones((8, 2), bool),
        "visible_views": np.ones(8),
        "up": np.array([0, 0, 1]),
    }
    return Surface(**{**values, **changes})


@pytest.mark.parametrize("scale", [0, -1, NAN, float("inf")])
def test_sim3_scale(scale):
    with pytest.raises(ValueError, match="scale must be positive and finite"):
        Sim3(scale, np.eye(3), np.zeros(3))


@pytest.mark.parametrize("R", [MIRROR, 2 * np.eye(3), np.ones((3, 3))])
def test_sim3_rotation(R):
    with pytest.raises(ValueError, match=r"Sim3\.R is not a rotation matrix"):
        Sim3(1, R, np.zeros(3))


def test_sim3_shapes_and_nan():
    with pytest.raises(ValueError, match=r"Sim3\.t has shape \(2,\), expected \(3,\)"):
        Sim3(1, np.eye(3), np.zeros(2))
    with pytest.raises(ValueError, match=r"Sim3\.t contains NaN"):
        Sim3(1, np.eye(3), [0, NAN, 0])
    with pytest.raises(ValueError, match=r"Sim3\.R has shape \(4, 4\)"):
        Sim3(1, np.eye(4), np.zeros(3))


@pytest.mark.parametrize("matrix", [np.diag([1.0, 1, -1, 1]), np.diag([1.0, 1, 0, 1])])
def test_sim3_from_mirroring_or_flat_matrix(matrix):
    with pytest.raises(ValueError, match="mirrors or collapses space"):
        Sim3.from_matrix(matrix)


def test_sim3_from_sheared_matrix():
    with pytest.raises(ValueError, match="not a rotation"):
        Sim3.from_matrix(np.diag([1.0, 2, 3, 1]))


@pytest.mark.parametrize(
    "K",
    [
        np.diag([-1.0, 1, 1]),
        np.diag([1.0, 0, 1]),
        np.diag([1.0, 1, 2]),
        np.array([[1, 0, 0], [0.5, 1, 0], [0, 0, 1]]),
        np.array([[1, 0, 0], [0, 1, 0], [0.1, 0, 1]]),
    ],
)
def test_camera_intrinsics(K):
    with pytest.raises(ValueError, match=r"Camera\.K is not"):
        Camera(K, 8, 8)


def test_camera_size_shape_and_nan():
    with pytest.raises(ValueError, match="must be positive, got 0 x 8"):
        Camera(np.eye(3), 0, 8)
    with pytest.raises(ValueError, match=r"Camera\.K has shape"):
        Camera(np.eye(4), 8, 8)
    with pytest.raises(ValueError, match=r"Camera\.K contains NaN"):
        Camera(NAN * np.eye(3), 8, 8)


@pytest.mark.parametrize(
    ("T", "message"),
    [
        (NAN * np.eye(4), "cam_T_world of frame f7 contains NaN"),
        (np.eye(3), r"cam_T_world of frame f7 has shape \(3, 3\), expected \(4, 4\)"),
        (np.diag([1.0, 1, 1, 2]), "cam_T_world of frame f7 has last row"),
        (np.diag([1.0, 1, -1, 1]), "rotation part of cam_T_world of frame f7 is not a rotation"),
    ],
)
def test_frame_transform(T, message):
    with pytest.raises(ValueError, match=message):
        frame(cam_T_world=T)


@pytest.mark.parametrize("bad", [np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)])
def test_image_type(bad):
    with pytest.raises(ValueError, match="image of frame f7 must be uint8"):
        _ = frame(image_source=bad).image


@pytest.mark.parametrize("bad", [np.zeros((8, 8), np.uint8), np.zeros((8, 8, 1), bool)])
def test_mask_type(bad):
    with pytest.raises(ValueError, match="mask of frame f7 must be bool"):
        _ = frame(mask_source=bad).mask


def test_sizes_that_differ_from_the_camera():
    with pytest.raises(ValueError, match="image of frame f7 is 8 x 6 pixels, but its camera says 8 x 8"):
        _ = frame(image_source=IMAGE[:6]).image
    with pytest.raises(ValueError, match="mask of frame f7 is 5 x 8 pixels"):
        _ = frame(mask_source=MASK[:, :5]).mask


def test_missing_mask():
    with pytest.raises(ValueError, match="frame f7 has no mask"):
        _ = frame(mask_source=None).mask


def test_pixels_are_read_when_asked_for():
    reads = []

    def read():
        reads.append(1)
        return IMAGE

    lazy = frame(image_source=read, mask_source=lambda: MASK)
    assert not reads
    assert lazy.image is IMAGE and lazy.mask is MASK and reads == [1]


@pytest.mark.parametrize("count", [0, 1])
def test_capture_needs_two_frames(count):
    with pytest.raises(ValueError, match=rf"capture mug has {count} frame\(s\): at least 2"):
        Capture("mug", [frame()] * count)


def test_capture_needs_cameras_and_finite_points():
    with pytest.raises(ValueError, match="frame f7 of capture mug has no camera pose"):
        Capture("mug", [frame(), frame(cam_T_world=None)])
    with pytest.raises(ValueError, match="points of capture mug contains NaN"):
        Capture("mug", [frame(), frame()], np.full((4, 3), NAN))
    with pytest.raises(ValueError, match=r"points of capture mug has shape \(4, 2\), expected \('any', 3\)"):
        Capture("mug", [frame(), frame()], np.zeros((4, 2)))
    with pytest.raises(ValueError, match="up of capture mug must be a unit vector"):
        Capture("mug", [frame(), frame()], up=[0, 0, 2])


@pytest.mark.parametrize("faces", [np.zeros((0, 3)), [[0, 1, 8]], [[-1, 0, 1]]])
def test_mesh_faces(faces):
    with pytest.raises(ValueError, match=r"Mesh\.faces must index the 8 vertices and be at least one triangle"):
        Mesh(box().vertices, faces)


def test_mesh_vertices():
    with pytest.raises(ValueError, match=r"Mesh\.vertices contains NaN"):
        Mesh(np.full((8, 3), NAN), box().faces)
    with pytest.raises(ValueError, match=r"Mesh\.vertices has shape"):
        Mesh(np.zeros((8, 2)), box().faces)


def test_mesh_diameter_and_transformed():
    mesh = box((1, 2, 2))
    assert mesh.diameter == pytest.approx(3)
    moved = mesh.transformed(Sim3(2, np.eye(3), [1, 1, 1]))
    assert moved.diameter == pytest.approx(6) and (moved.faces == mesh.faces).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"features": np.zeros((7, 2, 5))}, r"Surface\.features has shape"),
        ({"features": np.full((8, 2, 5), NAN)}, r"Surface\.features contains NaN"),
        ({"features": np.full((8, 2, 5), 1e6)}, r"Surface\.features contains NaN or infinite"),
        ({"valid": np.ones((8, 3), bool)}, r"Surface\.valid has shape"),
        ({"visible_views": np.ones(7)}, "visible_views has shape"),
        ({"up": np.ones(2)}, r"Surface\.up has shape"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered in cast")
def test_surface(changes, message):
    with pytest.raises(ValueError, match=message):
        surface(**changes)


def test_surface_types():
    s = surface()
    assert (s.features.dtype, s.valid.dtype, s.visible_views.dtype) == (np.float16, np.bool_, np.int64)


def test_pair_alignment():
    with pytest.raises(ValueError, match="pair a, b has no alignment mode"):
        PairAlignment("a", "b", (), np.zeros(0), np.zeros(0), np.zeros(0))
    with pytest.raises(ValueError, match=r"PairAlignment\.geometry has shape \(2,\), expected \(1,\)"):
        PairAlignment("a", "b", (Sim3.identity(),), np.zeros(1), np.zeros(2), np.zeros(1))


@pytest.mark.parametrize("bad", [[5, 1, 5, 9], [5, 9, 7, 1], [1, 2, 3], [0, 0, NAN, 1]])
def test_detection_box(bad):
    with pytest.raises(ValueError, match="bbox_xyxy"):
        Detection(np.array(bad))


def test_pose_estimate():
    detection = Detection(np.array([-3, 0, 1, 1]))
    with pytest.raises(ValueError, match="rotation part of cam_T_obj is not a rotation"):
        PoseEstimate(detection, 2 * np.eye(4) - np.diag([0, 0, 0, 1]), 1)
    estimate = PoseEstimate(detection, np.eye(4), 0.5)
    assert np.isnan(estimate.scale) and estimate.found


def test_nothing_can_be_changed():
    transform, mesh = Sim3.identity(), box()
    with pytest.raises(dataclasses.FrozenInstanceError):
        transform.scale = 2
    with pytest.raises(ValueError, match="read-only"):
        transform.t[0] = 1
    with pytest.raises(ValueError, match="read-only"):
        mesh.vertices[0] = 1


def test_inputs_are_copied():
    t = np.zeros(3)
    transform = Sim3(1, np.eye(3), t)
    t[0] = 5
    assert transform.t[0] == 0
