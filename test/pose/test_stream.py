"""The stream is estimator, scale and tracker in a row, and says where the time went."""

import numpy as np
import pytest
from scenes import potato
from truthful import CAM_T_OBJ, CAMERA, TruthfulBackbone, TruthfulNetwork, coordinates_painted

from uop3d_core.config import TrackSettings, TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.geometry import rigid, rotation_error
from uop3d_core.images import mask_box
from uop3d_core.pose.categories import CategoryEstimator
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.pose.metric import MetricEvidence
from uop3d_core.pose.scale import KnownSize, SupportPlane
from uop3d_core.pose.stream import PoseStream
from uop3d_core.stopwatch import Stopwatch
from uop3d_core.types import Detection, Frame, Mesh, Template, TrackState

STEP_NS = 33_333_333


@pytest.fixture(scope="module")
def mesh() -> Mesh:
    mesh = potato()
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Mesh((mesh.vertices - centre) / mesh.diameter, mesh.faces)


@pytest.fixture(scope="module")
def shown(mesh: Mesh) -> tuple[Frame, Detection]:
    pixels, mask = coordinates_painted(mesh, CAMERA, CAM_T_OBJ)
    return Frame("f", CAMERA, pixels), Detection(mask_box(mask), "potato")


def stream(mesh: Mesh, **options) -> PoseStream:  # type: ignore[no-untyped-def]
    about = {"backbone": {"fingerprint": "truth", "licence": "none", "channels": 3}}
    model = Model("truth", Template("potato", mesh), TrainSettings(), TruthfulNetwork(mesh), about)
    watch = Stopwatch()
    estimator = CategoryEstimator([PoseEstimator(model, TruthfulBackbone(), watch=watch)], watch)
    return PoseStream(estimator, watch=watch, **options)


def test_an_object_becomes_a_track(mesh: Mesh, shown: tuple[Frame, Detection]) -> None:
    frame, detection = shown
    poses = stream(mesh)
    results = [poses.process(i * STEP_NS, frame, [detection]) for i in range(4)]
    [track] = results[-1].tracks
    assert (track.id, track.category, track.state) == (1, "potato", TrackState.CONFIRMED)
    assert track.measured is results[-1].estimates[0]
    assert np.rad2deg(rotation_error(track.estimate.cam_T_obj[:3, :3], CAM_T_OBJ[:3, :3])) < 2
    assert np.isnan(track.estimate.scale) and results[-1].stamp_ns == 3 * STEP_NS
    steps = {"crop", "backbone", "head", "beliefs", "hypotheses", "refinement", "tracking"}
    assert results[-1].seconds.keys() == steps and all(s >= 0 for s in results[-1].seconds.values())


def test_sizes_make_it_metric(mesh: Mesh, shown: tuple[Frame, Detection]) -> None:
    frame, detection = shown
    poses = stream(mesh, sizes={"potato": KnownSize(diameter=0.2)})
    [track] = [poses.process(i * STEP_NS, frame, [detection]) for i in range(3)][-1].tracks
    assert track.estimate.scale == pytest.approx(0.2) and track.estimate.scale_source == "size"
    [estimate] = poses.estimate(0, frame, [detection], MetricEvidence(size=KnownSize(diameter=0.3))).estimates
    assert estimate.scale == pytest.approx(0.3)  # what is known of the image goes first


def test_contradictions_are_told(mesh: Mesh, shown: tuple[Frame, Detection]) -> None:
    frame, detection = shown
    poses = stream(mesh, sizes={"potato": KnownSize(diameter=0.2)})
    empty = np.zeros((CAMERA.height, CAMERA.width), np.float32)
    result = poses.process(0, frame, [detection], MetricEvidence(depth=empty))
    assert result.estimates[0].scale_source == "size"
    assert len(result.warnings) == 1 and result.warnings[0].startswith("potato: no scale from depth")


def test_ids_go_on_after_a_reset(mesh: Mesh, shown: tuple[Frame, Detection]) -> None:
    frame, detection = shown
    poses = stream(mesh)
    poses.process(0, frame, [detection])
    poses.reset()
    [track] = poses.process(0, frame, [detection]).tracks
    assert track.id == 2
    poses.configure(TrackSettings(confirm_hits=1))
    [track] = poses.process(0, frame, [detection]).tracks
    assert (track.id, track.state) == (3, TrackState.CONFIRMED)
    other = stream(mesh)
    other.take_over(poses.next_id, TrackSettings())
    assert other.process(0, frame, [detection]).tracks[0].id == 4


def test_estimates_leave_the_tracks_alone(mesh: Mesh, shown: tuple[Frame, Detection]) -> None:
    frame, detection = shown
    poses = stream(mesh)
    poses.process(5, frame, [detection])
    assert poses.estimate(1, frame, [detection]).tracks == ()
    assert [track.id for track in poses.process(6, frame, []).tracks] == [1]


def test_the_plane_of_a_frame() -> None:
    """A table 0.5 m below a camera that looks straight down."""
    plane = SupportPlane.of_frame(rigid(np.diag([1.0, -1, -1]), np.array([0.3, 0.2, 0.5])))
    np.testing.assert_allclose(plane.normal, [0, 0, -1])
    assert plane.d == pytest.approx(0.5)


def test_sizes_of_nothing(mesh: Mesh) -> None:
    with pytest.raises(ValueError, match="sizes of shoe"):
        stream(mesh, sizes={"shoe": KnownSize(diameter=0.3)})
