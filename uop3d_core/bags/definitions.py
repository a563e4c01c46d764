"""Message types without ROS: the standard ones, vision_msgs, yolo_msgs and our own, as rosbags makes classes of them.

In: .msg files of uop3d_ros. Out: a type store. Definitions that a recording brings are compared with these and never
used to make anything: rosbags makes classes by executing code.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from uop3d_core.geometry import Array

if TYPE_CHECKING:
    from rosbags.typesys.store import Typestore

VISION_MSGS = {
    "Point2D": "float64 x\nfloat64 y",
    "Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "BoundingBox2D": "vision_msgs/Pose2D center\nfloat64 size_x\nfloat64 size_y",
    "BoundingBox3D": "geometry_msgs/Pose center\ngeometry_msgs/Vector3 size",
    "ObjectHypothesis": "string class_id\nfloat64 score",
    "ObjectHypothesisWithPose": "vision_msgs/ObjectHypothesis hypothesis\ngeometry_msgs/PoseWithCovariance pose",
    "Detection2D": "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
    "vision_msgs/BoundingBox2D bbox\nstring id",
    "Detection2DArray": "std_msgs/Header header\nvision_msgs/Detection2D[] detections",
    "Detection3D": "std_msgs/Header header\nvision_msgs/ObjectHypothesisWithPose[] results\n"
    "vision_msgs/BoundingBox3D bbox\nstring id",
    "Detection3DArray": "std_msgs/Header header\nvision_msgs/Detection3D[] detections",
}
"""Fields of vision_msgs since ROS 2 Humble."""
YOLO_MSGS = {
    "Point2D": "float64 x\nfloat64 y",
    "Vector2": "float64 x\nfloat64 y",
    "Pose2D": "yolo_msgs/Point2D position\nfloat64 theta",
    "BoundingBox2D": "yolo_msgs/Pose2D center\nyolo_msgs/Vector2 size",
    "BoundingBox3D": "geometry_msgs/Pose center\ngeometry_msgs/Vector3 size\nstring frame_id",
    "Mask": "int32 height\nint32 width\nyolo_msgs/Point2D[] data",
    "KeyPoint2D": "int32 id\nyolo_msgs/Point2D point\nfloat64 score",
    "KeyPoint2DArray": "yolo_msgs/KeyPoint2D[] data",
    "KeyPoint3D": "int32 id\ngeometry_msgs/Point point\nfloat64 score",
    "KeyPoint3DArray": "yolo_msgs/KeyPoint3D[] data\nstring frame_id",
    "Detection": "int32 class_id\nstring class_name\nfloat64 score\nstring id\nyolo_msgs/BoundingBox2D bbox\n"
    "yolo_msgs/BoundingBox3D bbox3d\nyolo_msgs/Mask mask\nyolo_msgs/KeyPoint2DArray keypoints\n"
    "yolo_msgs/KeyPoint3DArray keypoints3d",
    "DetectionArray": "std_msgs/Header header\nyolo_msgs/Detection[] detections",
}
"""Fields of yolo_msgs (yolo_ros), of which boxes, names and scores are read."""
OWN = "uop3d_ros"


@lru_cache(maxsize=1)
def type_store() -> Typestore:
    """All types that are read or written.

    Raises:
        ImportError: rosbags is not installed.
    """
    try:
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    except ImportError as error:
        raise ImportError("recordings need rosbags: pip install 'uop3d[bags]'") from error
    store, types = get_typestore(Stores.ROS2_HUMBLE), dict[str, Any]()
    for package, definitions in (("vision_msgs", VISION_MSGS), ("yolo_msgs", YOLO_MSGS)):
        for name, text in definitions.items():
            types.update(get_types_from_msg(text, f"{package}/msg/{name}"))
    for path in sorted(_own_folder().glob("*.msg")):
        types.update(get_types_from_msg(path.read_text(encoding="utf-8"), f"{OWN}/msg/{path.stem}"))
    store.register(types)
    return store


def _own_folder() -> Path:
    """The .msg files: installed beside this package's code, or the folder msg/ of the source tree."""
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "msg", package.parent / "msg"):
        if (folder / "ObjectPose.msg").is_file():
            return folder
    raise FileNotFoundError(f"{package / 'msg'}: the .msg files of {OWN} are missing: install uop3d again")


def message_class(name: str) -> Any:
    """Class of a message by its name, as in "geometry_msgs/msg/Pose"."""
    return type_store().types[name]


def octets(data: bytes) -> Array:
    """The value of a field uint8[] of such a class: (N,) uint8."""
    return np.frombuffer(data, np.uint8)


def difference(name: str, definition: str, language: str) -> str:
    """How a recording's definition of a type differs from ours, in a few words; "" where it does not."""
    from rosbags.typesys import TypesysError, get_types_from_idl, get_types_from_msg

    if not definition or not language:
        return ""
    try:
        if language == "ros2idl":
            theirs = {}
            for part in definition.split("=" * 80 + "\n"):
                theirs.update(get_types_from_idl(part.split("\n", 1)[1] if part.startswith("IDL: ") else part))
        else:
            theirs = get_types_from_msg(definition, name)
    except (TypesysError, ValueError, LookupError, AssertionError) as error:
        return f"its definition cannot be read ({str(error).splitlines()[0]})"
    for each, (_, fields) in theirs.items():
        ours = type_store().fielddefs.get(each)
        if ours is not None and _plain(ours[1]) != _plain(fields):
            names = ", ".join(field[0] for field in fields)
            return f"its {each} has the fields {names} or other types of them than the version that is known"
    return "" if name in theirs else "its definition is of something else"


def _plain(fields: Any) -> list[tuple[str, str]]:
    return [(str(field[0]).lower(), str(field[1])) for field in fields]
