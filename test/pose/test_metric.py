"""Scale from a known size or a support plane, the order of trust, contradictions, and estimates without a pose."""

import logging

import numpy as np
import pytest
from scenes import box, look_at, square_camera
from scipy.spatial.transform import Rotation

from uop3d_core.geometry import rigid
from uop3d_core.pose.metric import MetricEvidence, measure, metric
from uop3d_core.pose.scale import KnownSize, SupportPlane, scale_from_plane, scale_from_size
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Detection, Mesh, PoseEstimate, Template

SHAPE = box((3, 2, 6))
MESH = Mesh(SHAPE.vertices / SHAPE.diameter, SHAPE.faces)  # unit diagonal: 3/7, 2/7, 6/7
TEMPLATE = Template("box", MESH)
CAMERA = square_camera(120)
T = look_at([2.5, 1.0, 1.5])
ESTIMATE = PoseEstimate(Detection([0, 0, 119, 119]), T, 0.8)
SCALE = 0.35
UP = T[:3, 2]
"""The z axis of obj in cam; the box stands on the plane z = -3/7."""
STAND = SupportPlane(UP, SCALE * float(3 / 7 - UP @ T[:3, 3]))


def test_diameter_and_extents_give_the_scale() -> None:
    assert scale_from_size(KnownSize(SCALE), MESH).scale == pytest.approx(SCALE)
    height = scale_from_size(KnownSize(extents=np.array([np.nan, np.nan, SCALE * 6 / 7]), std=0.02), MESH)
    assert height.scale == pytest.approx(SCALE) and height.std == 0.02
    both = scale_from_size(KnownSize(SCALE, extents=SCALE * np.array([3, 2, 6]) / 7, std=0), MESH)
    assert both.scale == pytest.approx(SCALE) and both.std == pytest.approx(0, abs=1e-9)


def test_other_proportions_widen_the_spread() -> None:
    thin = scale_from_size(KnownSize(extents=SCALE * np.array([3, 1, 6]) / 7, std=0.01), MESH)
    assert thin.std > 0.3 and thin.scale < SCALE


@pytest.mark.parametrize("size", [0, -0.1, np.inf])
def test_a_size_is_positive(size: float) -> None:
    with pytest.raises(ValueError, match="positive and finite"):
        KnownSize(size)
    with pytest.raises(ValueError, match="positive and finite"):
        KnownSize(extents=np.array([1, size, np.nan]))


def test_bad_sizes_and_spreads() -> None:
    with pytest.raises(ValueError, match="no size"):
        KnownSize()
    with pytest.raises(ValueError, match="relative"):
        KnownSize(0.1, std=10)
    with pytest.raises(ValueError, match="expected"):
        KnownSize(extents=np.ones(2))


def test_the_plane_under_the_object_gives_the_scale() -> None:
    reading = scale_from_plane(ESTIMATE, MESH, STAND)
    assert reading.scale == pytest.approx(SCALE) and 0.01 < reading.std < 0.2
    lowest = SCALE * ((MESH.vertices @ T[:3, :3].T + T[:3, 3]) @ UP).min() + STAND.d
    assert lowest == pytest.approx(0, abs=1e-9)


def test_a_lying_object_stands_on_another_side() -> None:
    side = T[:3, 0]
    plane = SupportPlane(side, SCALE * float(1.5 / 7 - side @ T[:3, 3]))
    assert scale_from_plane(ESTIMATE, MESH, plane).scale == pytest.approx(SCALE)


def test_a_better_pose_gives_a_better_scale() -> None:
    sure = PoseEstimate(ESTIMATE.detection, T, 0.8, covariance=1e-6 * np.eye(6))
    reading = scale_from_plane(sure, MESH, SupportPlane(STAND.normal, STAND.d, std=0))
    assert reading.std < scale_from_plane(ESTIMATE, MESH, STAND).std


def test_simulated_errors_have_the_stated_spread() -> None:
    """A leaning rod with one end on the plane, whose turn moves that end up and down."""
    rng, sigma = np.random.default_rng(0), 0.01
    foot = np.array([0.4, 0.0, -0.3])
    rod = Mesh([foot, -foot, [0, 0.01, 0]], [[0, 1, 2]])
    stand = SupportPlane(UP, float(-SCALE * UP @ (T[:3, :3] @ foot + T[:3, 3])), std=0)
    turn = 0.06
    covariance = np.diag([sigma**2] * 3 + [turn**2] * 3)
    stated = scale_from_plane(PoseEstimate(ESTIMATE.detection, T, 1, covariance=covariance), rod, stand).std
    scales = []
    for _ in range(400):
        R = Rotation.from_rotvec(turn * rng.standard_normal(3)).as_matrix() @ T[:3, :3]
        moved = PoseEstimate(ESTIMATE.detection, rigid(R, T[:3, 3] + sigma * rng.standard_normal(3)), 1)
        scales.append(scale_from_plane(moved, rod, stand).scale)
    assert stated == pytest.approx(np.hypot(np.std(np.log(scales)), 0.02 / (stand.d / SCALE)), rel=0.15)


def test_planes_that_cannot_be_are_refused() -> None:
    assert "below the plane" in scale_from_plane(ESTIMATE, MESH, SupportPlane(-UP, -STAND.d)).reason
    behind = scale_from_plane(ESTIMATE, MESH, SupportPlane(np.array([0.0, 0, 1]), 1.0))
    assert not behind.valid and "behind" in behind.reason
    level = PoseEstimate(ESTIMATE.detection, look_at([2.5, 1.0, -0.41]), 0.8)
    flat = scale_from_plane(level, MESH, SupportPlane(level.cam_T_obj[:3, 2], 0.02))
    assert not flat.valid and "too flat" in flat.reason


def test_normals_have_length_one() -> None:
    with pytest.raises(ValueError, match="length 1"):
        SupportPlane(np.array([0, -2.0, 0]), 1)
    with pytest.raises(ValueError, match="finite"):
        SupportPlane(np.array([0, np.nan, 1]), 1)


def test_without_evidence_the_scale_stays_unknown() -> None:
    result = measure(ESTIMATE, TEMPLATE, CAMERA, MetricEvidence())
    assert np.isnan(result.estimate.scale) and result.estimate.scale_source == "" and result.warnings == ()
    assert np.isnan(result.estimate.position_m).all() and np.isnan(result.estimate.size_m).all()


def test_what_is_not_found_stays_as_it_is() -> None:
    lost = PoseEstimate(ESTIMATE.detection, np.eye(4), 0.0, found=False)
    assert metric(lost, TEMPLATE, CAMERA, MetricEvidence(size=KnownSize(0.3))) is lost


def test_the_most_trusted_source_is_used_and_the_others_check_it(caplog: pytest.LogCaptureFixture) -> None:
    depth = RayCaster(MESH).render(CAMERA, T).t.reshape(120, 120) * SCALE
    depth[~np.isfinite(depth)] = 0
    evidence = MetricEvidence(depth, size=KnownSize(SCALE * 1.02), plane=STAND)
    result = measure(ESTIMATE, TEMPLATE, CAMERA, evidence)
    assert [reading.source for reading in result.readings] == ["depth", "size", "plane"]
    assert result.estimate.scale_source == "depth" and result.warnings == ()
    wrong = MetricEvidence(depth, size=KnownSize(3 * SCALE))
    with caplog.at_level(logging.WARNING):
        estimate = metric(ESTIMATE, TEMPLATE, CAMERA, wrong)
    assert estimate.scale == pytest.approx(SCALE, rel=0.01)
    assert "depth gives" in caplog.text and "but size gives" in caplog.text


def test_the_next_source_stands_in() -> None:
    evidence = MetricEvidence(np.zeros((120, 120)), size=KnownSize(SCALE), plane=STAND)
    result = measure(ESTIMATE, TEMPLATE, CAMERA, evidence)
    assert result.estimate.scale_source == "size" and result.estimate.scale_std == 0.1
    assert len(result.warnings) == 1 and "no scale from depth" in result.warnings[0]
    assert np.array_equal(result.estimate.cam_T_obj, T)
    assert result.estimate.size_m == pytest.approx(SCALE * np.array([3, 2, 6]) / 7)
    alone = measure(ESTIMATE, TEMPLATE, CAMERA, MetricEvidence(plane=STAND)).estimate
    assert alone.scale_source == "plane" and alone.position_m == pytest.approx(SCALE * T[:3, 3])


def test_scale_source_is_one_of_four() -> None:
    with pytest.raises(ValueError, match="scale_source"):
        PoseEstimate(ESTIMATE.detection, T, 0.5, scale_source="guess")
