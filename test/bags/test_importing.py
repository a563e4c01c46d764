"""A made-up film as a recording, imported: the cameras are those of the film, whoever tells of their motion."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from uop3d_core.bags.definitions import message_class
from uop3d_core.bags.importing import read_bag
from uop3d_core.bags.reading import TF, TF_STATIC
from uop3d_core.bags.synthetic import BODY, FIXED, IMAGE, INFO, Sent, messages_of, write_film
from uop3d_core.bags.writing import writing
from uop3d_core.capture.formats import detect_format
from uop3d_core.capture.nerfstudio import read_recording
from uop3d_core.capture.recordings import ImportOptions
from uop3d_core.capture.synthetic.film import make_film
from uop3d_core.images import read_rgb
from uop3d_core.messages.building import Messages
from uop3d_core.pipeline.importing import import_captures


@pytest.fixture(scope="module")
def film():
    return make_film(3, shots=5, mugs=1, size=(64, 48))


def record(path, film, change=lambda sent: sent):
    with writing(path, path.suffix == ".db3") as bag:
        for sent in change(messages_of(film, depth=True)):
            bag.write(sent.topic, sent.log_ns, sent.message)
    return path


def check(recording, film, indices=range(5)):
    assert [shot.name for shot in recording.shots] == [f"{index:06d}" for index in indices]
    for shot, index in zip(recording.shots, indices, strict=True):
        true = film.shots[index]
        np.testing.assert_allclose(shot.cam_T_world, true.cam_T_fixed, atol=1e-9)
        np.testing.assert_allclose(shot.camera.K, film.camera.K)
        assert np.abs(read_rgb(shot.image).astype(int) - true.image).mean() < 4


@pytest.mark.parametrize("ending", [".mcap", ".db3"])
def test_cameras_are_those_of_the_film(film, tmp_path, ending):
    path = tmp_path / f"walk{ending}"
    write_film(path, film, sqlite=ending == ".db3")
    recording = read_bag(path, tmp_path, ImportOptions())
    check(recording, film)
    assert recording.name == "walk"
    assert recording.notes[0] == f"5 of 5 images of {IMAGE} are taken; world is {FIXED}"
    assert recording.up is None  # a table may be any frame


def test_as_a_capture(film, tmp_path):
    write_film(tmp_path / "walk.mcap", film)
    assert detect_format(tmp_path / "walk.mcap") == "bag"
    [done] = import_captures(tmp_path / "walk.mcap", tmp_path / "mug", options=ImportOptions(frames=3))
    assert (done.frames, done.unmasked) == (3, 3)
    check(read_recording(tmp_path / "mug"), film, [0, 2, 4])


def renamed(sent):
    """The table's frame is called odom."""
    for each in sent:
        if each.topic == TF:
            each.message.transforms[0].header.frame_id = "odom"
    return sent


def test_up_of_frames_that_are_level(film, tmp_path):
    recording = read_bag(record(tmp_path / "a.mcap", film, renamed), tmp_path, ImportOptions())
    assert recording.up.tolist() == [0, 0, 1]
    assert recording.source["world"] == "odom"


def by_odometry(sent):
    """TF tells of the camera's mount alone, odometry of the body."""
    build = Messages(message_class, {})
    changed = []
    for each in sent:
        if each.topic != TF:
            changed.append(each)
            continue
        [stamped] = each.message.transforms
        move, twist = stamped.transform, build.make("geometry_msgs/msg/Twist", linear=zero(build), angular=zero(build))
        position = build.make(
            "geometry_msgs/msg/Point", x=move.translation.x, y=move.translation.y, z=move.translation.z
        )
        pose = build.make("geometry_msgs/msg/Pose", position=position, orientation=move.rotation)
        message = build.make(
            "nav_msgs/msg/Odometry",
            header=stamped.header,
            child_frame_id=BODY,
            pose=build.make("geometry_msgs/msg/PoseWithCovariance", pose=pose, covariance=np.zeros(36)),
            twist=build.make("geometry_msgs/msg/TwistWithCovariance", twist=twist, covariance=np.zeros(36)),
        )
        changed.append(Sent("/odom", each.log_ns, message))
    return changed


def zero(build):
    return build.make("geometry_msgs/msg/Vector3", x=0.0, y=0.0, z=0.0)


def test_odometry(film, tmp_path):
    check(read_bag(record(tmp_path / "a.mcap", film, by_odometry), tmp_path, ImportOptions()), film)


def test_odometry_beside_transforms_says_nothing_new(film, tmp_path):
    def both(sent):
        odometry = [each for each in by_odometry(sent) if each.topic == "/odom"]
        for each in odometry:
            each.message.pose.pose.position.x += 5
        return sorted([*sent, *odometry], key=lambda each: each.log_ns)

    check(read_bag(record(tmp_path / "a.mcap", film, both), tmp_path, ImportOptions()), film)


def without(*topics):
    return lambda sent: [each for each in sent if each.topic not in topics]


def still(sent):
    first = next(each for each in sent if each.topic == TF).message.transforms[0].transform
    for each in sent:
        if each.topic == TF:
            each.message.transforms[0].transform = first
    return sent


def second_camera(sent):
    return sent + [replace(each, topic="/rear/image_raw") for each in sent if each.topic == IMAGE]


BAD = {
    "no motion at all": (without(TF, TF_STATIC), "has neither /tf nor odometry, so nothing tells how the camera moved"),
    "mount only": (without(TF), "the camera stands still in camera_link"),
    "camera hangs in the air": (without(TF_STATIC), r"0 image\(s\) of .* have a camera pose, 2 are needed"),
    "camera stands still": (still, "the camera stands still in table"),
    "no camera_info": (without(INFO), "the camera of .* is needed"),
    "no images": (without(IMAGE), "image"),
    "two cameras": (second_camera, "choose one with --topic: /camera/image_raw, /rear/image_raw"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_used(film, tmp_path, case):
    change, message = BAD[case]
    path = record(tmp_path / "a.mcap", film, change)
    with pytest.raises(ValueError, match=message):
        import_captures(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_compressed_images_stay_as_they_were_sent(film, tmp_path):
    build, sent_bytes = Messages(message_class, {}), []

    def compressed(sent):
        for index, each in enumerate(sent):
            if each.topic == IMAGE:
                pixels = np.frombuffer(each.message.data, np.uint8).reshape(each.message.height, each.message.width, 3)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, format="PNG" if len(sent_bytes) == 1 else "JPEG", quality=90)
                sent_bytes.append(file.getvalue())
                data = np.frombuffer(file.getvalue(), np.uint8)
                header = each.message.header
                message = build.make("sensor_msgs/msg/CompressedImage", header=header, format="rgb8; x", data=data)
                sent[index] = Sent("/camera/image_raw/compressed", each.log_ns, message)
        return sent

    recording = read_bag(record(tmp_path / "a.mcap", film, compressed), tmp_path, ImportOptions())
    assert [shot.image.read_bytes() for shot in recording.shots] == sent_bytes
    assert [shot.image.suffix for shot in recording.shots] == [".jpg", ".png", ".jpg", ".jpg", ".jpg"]


def test_topic_is_chosen(film, tmp_path):
    path = record(tmp_path / "a.mcap", film, second_camera)
    check(read_bag(path, tmp_path, ImportOptions(topic=IMAGE)), film)


def test_images_that_do_not_fit_their_camera(film, tmp_path):
    def larger(sent):
        for each in sent:
            if each.topic == INFO:
                each.message.width += 2
        return sent

    with pytest.raises(ValueError, match=r"0 image\(s\) can be used: .*but camera_info says"):
        read_bag(record(tmp_path / "a.mcap", film, larger), tmp_path, ImportOptions())


def test_truncated_and_empty_files(film, tmp_path):
    path = record(tmp_path / "a.mcap", film)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"a\.mcap ends before its last record does"):
        read_bag(path, tmp_path, ImportOptions())
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.mcap is empty"):
        read_bag(path, tmp_path, ImportOptions())
