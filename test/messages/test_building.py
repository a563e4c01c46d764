"""Messages built with stand-in classes, checked against the definitions of our own and the numbers put in."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from scenes import potato
from scipy.spatial.transform import Rotation

from uop3d_core.geometry import rigid, transform
from uop3d_core.messages.building import STATES, UNTRACKED, Messages
from uop3d_core.messages.markers import DELETE, DELETE_ALL, FACES, TRIANGLE_LIST, MarkerDrawer, coarse
from uop3d_core.messages.placing import Place, place_tracks
from uop3d_core.messages.reading import pose_transform_of, stamp_ns, transform_of
from uop3d_core.types import (
    Detection,
    Mesh,
    PoseEstimate,
    PoseHypothesis,
    Symmetry,
    Template,
    Track,
    TrackState,
)

MSG = Path(__file__).resolve().parents[2] / "msg"
STAMP = 1_700_000_000_123_456_789
CAM_T_OBJ = rigid(Rotation.from_rotvec([0.3, -1.2, 0.4]).as_matrix(), np.array([0.5, -0.2, 4.0]))
FRAME_T_CAM = rigid(Rotation.from_rotvec([-1.5, 0.2, 0.1]).as_matrix(), np.array([1.0, 2, 3]))
COVARIANCE = np.diag([1.0, 4, 9, 0.1, 0.2, 0.3]) * 1e-4


def stand_in(name):
    return lambda **fields: SimpleNamespace(**fields, msgtype=name)


@pytest.fixture(scope="module")
def template():
    mesh = potato()
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    unit = Mesh((mesh.vertices - centre) / mesh.diameter, mesh.faces)
    return Template("mug", unit, Symmetry(np.array([0, 0, 1.0]), 2))


@pytest.fixture
def messages(template):
    return Messages(stand_in, {"mug": template})


def track(number=1, state=TrackState.CONFIRMED, scale=0.1, **changes):
    estimate = PoseEstimate(
        Detection([10, 20, 30, 50]), CAM_T_OBJ, 0.8, scale=scale, scale_std=0.05, scale_source="size",
        category="mug", size=np.array([0.8, 0.5, 0.4]), covariance=COVARIANCE, other=0.1,
        hypotheses=(PoseHypothesis(CAM_T_OBJ, 0.7), PoseHypothesis(np.eye(4), 0.1)),
    )  # fmt: skip
    fields = {"velocity": np.zeros(6), "last_seen_ns": STAMP - 5, "hits": 3, "measured": estimate, **changes}
    return Track(number, "mug", state, estimate, **fields)


def metric(T, scale=0.1):
    return rigid(T[:3, :3], scale * T[:3, 3])


def test_our_messages_fill_every_field_of_their_definitions(messages):
    array = messages.objects(Place(STAMP, "camera"), [track()])
    for message, name in (
        (array, "ObjectPoseArray"),
        (array.objects[0], "ObjectPose"),
        (array.objects[0].hypotheses[0], "PoseHypothesis"),
    ):
        text = re.sub(r"#.*", "", (MSG / f"{name}.msg").read_text())
        fields = {line.split()[1] for line in text.splitlines() if line.strip() and "=" not in line}
        assert vars(message).keys() - {"msgtype"} == fields


def test_states_are_the_constants_of_the_definition():
    constants = dict(re.findall(r"uint8 ([A-Z]+)=(\d)", (MSG / "ObjectPose.msg").read_text()))
    stated = {"UNTRACKED": UNTRACKED, **{state.name: number for state, number in STATES.items()}}
    assert {name: int(number) for name, number in constants.items()} == stated


def test_tracked_object(messages):
    [message] = messages.objects(Place(STAMP, "camera", prefix="left_"), [track(7)]).objects
    assert (message.id, message.track_id, message.state) == ("left_mug_7", 7, 2)
    assert stamp_ns(message.last_seen) == STAMP - 5
    np.testing.assert_allclose(pose_transform_of(message.pose.pose), metric(CAM_T_OBJ), atol=1e-12)
    units = np.array([0.1] * 3 + [1] * 3)
    expected = COVARIANCE * np.outer(units, units)
    expected[:3, :3] += np.outer(CAM_T_OBJ[:3, 3], CAM_T_OBJ[:3, 3]) * (0.1 * 0.05) ** 2
    np.testing.assert_allclose(message.pose.covariance.reshape(6, 6), expected)
    np.testing.assert_allclose([message.size.x, message.size.y, message.size.z], [0.08, 0.05, 0.04])
    assert [h.probability for h in message.hypotheses] == [0.7, 0.1]
    assert (message.symmetry_fold, message.symmetry_axis.z) == (2, 1.0)
    np.testing.assert_array_equal(message.box, [10, 20, 30, 50])


def test_predicted_object_has_no_box(messages):
    [message] = messages.objects(Place(STAMP, "camera"), [track(measured=None)]).objects
    assert np.isnan(message.box).all() and message.hypotheses == []


def test_depth_leaves_the_error_of_the_scale_out():
    estimate = replace(track().estimate, scale_source="depth")
    units = np.array([0.1] * 3 + [1] * 3)
    np.testing.assert_allclose(estimate.covariance_m, COVARIANCE * np.outer(units, units))
    assert replace(estimate, scale=np.nan).covariance_m is None


def test_another_frame(messages):
    place = Place(STAMP, "base", FRAME_T_CAM)
    [message] = messages.objects(place, [track()]).objects
    np.testing.assert_allclose(pose_transform_of(message.pose.pose), FRAME_T_CAM @ metric(CAM_T_OBJ), atol=1e-9)
    turn = np.kron(np.eye(2), FRAME_T_CAM[:3, :3])
    expected = turn @ track().estimate.covariance_m @ turn.T
    np.testing.assert_allclose(message.pose.covariance.reshape(6, 6), expected, atol=1e-12)


def test_unknown_scale(messages):
    unscaled = track(scale=np.nan)
    place, base = Place(STAMP, "camera"), Place(STAMP, "base", FRAME_T_CAM)
    assert place_tracks(place, [unscaled]) == []
    [message] = messages.objects(place, [unscaled]).objects
    np.testing.assert_allclose(pose_transform_of(message.pose.pose), CAM_T_OBJ, atol=1e-12)
    assert np.isnan(message.scale) and message.size.x == 0.8 and message.covariance_known
    [message] = messages.objects(base, [unscaled]).objects
    assert np.isnan(message.pose.pose.position.x) and not message.covariance_known
    [placed] = place_tracks(place, [unscaled], unit_m=1.0)
    np.testing.assert_allclose(placed.frame_T_obj, CAM_T_OBJ)


@pytest.mark.parametrize(
    ("state", "shown"), [(TrackState.TENTATIVE, 0), (TrackState.CONFIRMED, 1), (TrackState.LOST, 0)]
)
def test_standard_messages_show_what_is_sure(messages, state, shown):
    place = Place(STAMP, "camera")
    placed = place_tracks(place, [track(state=state)])
    assert len(messages.objects(place, [track(state=state)]).objects) == 1
    for message, items in (
        (messages.detections(place, placed), "detections"),
        (messages.poses(place, placed), "poses"),
        (messages.transforms(place, placed), "transforms"),
    ):
        assert len(getattr(message, items)) == shown


def test_standard_messages(messages):
    place = Place(STAMP, "camera")
    placed = place_tracks(place, [track(3)])
    [transform_message] = messages.transforms(place, placed).transforms
    assert (transform_message.header.frame_id, transform_message.child_frame_id) == ("camera", "mug_3")
    assert stamp_ns(transform_message.header.stamp) == STAMP
    np.testing.assert_allclose(transform_of(transform_message.transform), metric(CAM_T_OBJ), atol=1e-12)
    [detection] = messages.detections(place, placed).detections
    assert (detection.id, detection.results[0].hypothesis.class_id, detection.results[0].hypothesis.score) == ("mug_3", "mug", 0.8)  # fmt: skip # noqa: E501
    np.testing.assert_allclose(pose_transform_of(detection.bbox.center), metric(CAM_T_OBJ), atol=1e-12)


def test_estimates_of_one_image(messages):
    nothing = PoseEstimate(Detection([0, 0, 5, 5]), np.eye(4), 0.0, found=False, other=1.0)
    found, missed = messages.estimates(Place(STAMP, "camera"), [track().estimate, nothing]).objects
    assert (found.id, found.state, found.pose_known) == ("", UNTRACKED, True)
    assert not missed.pose_known and not missed.covariance_known and np.isnan(missed.pose.covariance).all()


def test_names_are_valid_frames():
    assert Place(0, "camera").name("tea cup/old", 4) == "tea_cup_old_4"


def test_markers_come_and_go(messages, template):
    drawer, place = MarkerDrawer(messages, lambda content: content), Place(STAMP, "camera")
    first = drawer.draw(place, place_tracks(place, [track(1), track(2)])).markers
    assert [m.action for m in first[:1]] == [DELETE_ALL]
    assert len(first) == 7 and len({(m.ns, m.id) for m in first}) == 7
    mesh = next(m for m in first if m.type == TRIANGLE_LIST)
    points = np.array([[p.x, p.y, p.z] for p in mesh.points]) * mesh.scale.x
    drawn = transform(pose_transform_of(mesh.pose), points)
    expected = transform(metric(CAM_T_OBJ), 0.1 * template.mesh.vertices)
    np.testing.assert_allclose([drawn.min(0), drawn.max(0)], [expected.min(0), expected.max(0)], atol=2e-3)
    assert len(points) <= 3 * FACES
    second = drawer.draw(place, place_tracks(place, [track(2)])).markers
    assert {(m.ns, m.id) for m in second if m.action == DELETE} == {(f"mug_1/{w}", 1) for w in ("mesh", "axes", "text")}
    drawer.forget()
    assert drawer.draw(place, []).markers[0].action == DELETE_ALL


def test_coarse_mesh_keeps_its_extents(template):
    small = coarse(template.mesh)
    assert len(small.faces) <= FACES < len(template.mesh.faces)
    np.testing.assert_allclose(np.ptp(small.vertices, axis=0), np.ptp(template.mesh.vertices, axis=0), rtol=0.03)
