"""The parameters of pose_node: declared once, as a settings class with types, ranges and descriptions. No Node.

In: parameter values. Out: NodeSettings, and the descriptors that ROS shows. Nested settings have dotted names.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_origin

from pydantic import Field, field_validator
from pydantic.fields import FieldInfo
from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor
from rclpy.qos import QoSPolicyKind
from rclpy.qos_overriding_options import QoSOverridingOptions

from uop3d_core.config import PoseSettings, Settings, TrackSettings, parse_settings
from uop3d_core.messages.reading import Labels
from uop3d_core.pose.scale import KnownSize

RUNTIME = {"changeable": True}
"""Marks parameters that may change while the node is configured; the others count from the next configuration on."""
OVERRIDABLE = QoSOverridingOptions(
    (QoSPolicyKind.HISTORY, QoSPolicyKind.DEPTH, QoSPolicyKind.RELIABILITY, QoSPolicyKind.DURABILITY)
)
"""Of the quality of service of every input and output, by parameters qos_overrides.TOPIC.*"""
LIMITS = ("ge", "gt", "le", "lt")
USUAL_STD = 0.1
"""Relative standard deviation of a size that is given without one."""


class NodeSettings(Settings):
    """Parameters of pose_node."""

    autostart: bool = Field(False, description="configure and activate by itself when it starts")
    models: tuple[str, ...] = Field((), description="model files, one per category: .safetensors, .onnx or .xml")
    device: str = Field("cpu", description="where networks run: cpu, cuda, or what else the kind of model knows")

    image_transport: Literal["raw", "compressed"] = Field("raw", description="'compressed' takes <image>/compressed")
    rectified: bool = Field(False, description="images are rectified: P of camera_info holds, not K and D")
    camera_frame: str = Field("", description="optical frame of the camera; empty: as the image's header says")
    detections: Literal["vision_msgs", "yolo_msgs", "whole_image"] = Field(
        "vision_msgs", description="type of the detections; whole_image takes each image as one box without a label"
    )
    labels: tuple[str, ...] = Field(
        (), description="DETECTOR_LABEL=CATEGORY; '*' stands for all others; without a category: try all",
        json_schema_extra=RUNTIME,
    )  # fmt: skip
    min_detection_score: float = Field(
        0.0, ge=0, le=1, description="detections that score less are ignored", json_schema_extra=RUNTIME
    )
    max_detections: int = Field(
        16, ge=1, le=1000, description="most detections of an image, best first", json_schema_extra=RUNTIME
    )

    depth: Literal["none", "image", "points"] = Field(
        "none", description="what measures distances: a depth image aligned with the image, or a point cloud"
    )
    sizes: tuple[str, ...] = Field(
        (), description="CATEGORY=DIAGONAL or CATEGORY=DIAGONAL:STD: diagonal of the box in m, relative std",
        json_schema_extra=RUNTIME,
    )  # fmt: skip
    plane_frame: str = Field(
        "", description="frame whose plane z = 0 the objects stand on; empty: none", json_schema_extra=RUNTIME
    )

    slop_s: float = Field(0.01, ge=0, le=1, description="largest stamp difference of image and detections")
    depth_slop_s: float = Field(0.02, ge=0, le=1, description="largest stamp difference of image and depth")
    buffer_s: float = Field(1.0, gt=0, le=60, description="how long images are kept for detections to come")
    buffer_images: int = Field(60, ge=1, le=1000, description="most images that are kept")

    target_frame: str = Field(
        "", description="frame that poses are given in; empty: the camera's", json_schema_extra=RUNTIME
    )
    fixed_frame: str = Field(
        "", description="frame in which the surroundings rest, for cameras that move", json_schema_extra=RUNTIME
    )
    tf_timeout_s: float = Field(
        0.1, ge=0, le=10, description="how long an image waits for its transforms", json_schema_extra=RUNTIME
    )
    frame_prefix: str = Field(
        "", pattern=r"^[A-Za-z0-9_/]*$", description="of the names of objects: another one per camera",
        json_schema_extra=RUNTIME,
    )  # fmt: skip
    publish_tf: bool = Field(True, description="publish a frame per object", json_schema_extra=RUNTIME)
    publish_unscaled: bool = Field(
        False, description="objects of unknown size go into standard messages, with an object unit taken for a metre",
        json_schema_extra=RUNTIME,
    )  # fmt: skip
    publish_min_score: float = Field(
        0.0, ge=0, le=1, description="objects that score less do not go into standard messages",
        json_schema_extra=RUNTIME,
    )  # fmt: skip

    pose: PoseSettings = Field(PoseSettings(), description="how poses are estimated")
    track: TrackSettings = Field(
        TrackSettings(), description="how objects are followed; a change forgets them", json_schema_extra=RUNTIME
    )

    @field_validator("models", "labels", "sizes")
    @classmethod
    def _without_blanks(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        """An empty list of texts is hard to write in ROS, so [''] is one, too."""
        return tuple(value for value in values if value.strip())

    @field_validator("labels")
    @classmethod
    def _labels_are_right(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        Labels.parse(list(values))
        return values

    @field_validator("sizes")
    @classmethod
    def _sizes_are_right(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        parse_sizes(values)
        return values

    @property
    def known_sizes(self) -> dict[str, KnownSize]:
        """Sizes by category."""
        return parse_sizes(self.sizes)

    @property
    def label_table(self) -> Labels:
        """Categories by the detector's label."""
        return Labels.parse(list(self.labels))

    @property
    def unit_m(self) -> float:
        """What an object unit is taken for where the scale is unknown."""
        return 1.0 if self.publish_unscaled else math.nan


def parse_sizes(entries: tuple[str, ...]) -> dict[str, KnownSize]:
    """Read entries of the form CATEGORY=DIAGONAL[:STD].

    Raises:
        ValueError: an entry is of another form, or a category is there twice.
    """
    sizes: dict[str, KnownSize] = {}
    for entry in entries:
        category, equals, value = (part.strip() for part in entry.partition("="))
        diagonal, _, std = value.partition(":")
        try:
            if not equals or not category:
                raise ValueError("no category")
            size = KnownSize(diameter=float(diagonal), std=float(std) if std else USUAL_STD)
        except ValueError as error:
            raise ValueError(f"size {entry!r} must be CATEGORY=METRES or CATEGORY=METRES:STD ({error})") from error
        if category in sizes:
            raise ValueError(f"category {category!r} has two sizes")
        sizes[category] = size
    return sizes


def fields(
    cls: type[Settings] = NodeSettings, prefix: str = "", changeable: bool | None = None
) -> Iterator[tuple[str, FieldInfo, bool]]:
    """All parameters: name, field, and whether it may change while the node is configured."""
    for name, field in cls.model_fields.items():
        may_change = field.json_schema_extra == RUNTIME if changeable is None else changeable
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            yield from fields(field.annotation, f"{prefix}{name}.", may_change)
        else:
            yield f"{prefix}{name}", field, may_change


def describe(field: FieldInfo, changeable: bool) -> tuple[Any, ParameterDescriptor]:
    """Default and descriptor of a parameter; an empty list of texts is [""], which has a type."""
    kind, default = field.annotation, field.get_default()
    descriptor = ParameterDescriptor(description=field.description or "")
    constraints = []
    if get_origin(kind) is Literal:
        constraints.append("one of " + ", ".join(kind.__args__))
    if not changeable:
        constraints.append("counts from the next configuration on")
    descriptor.additional_constraints = "; ".join(constraints)
    limits = {name: getattr(item, name) for item in field.metadata for name in LIMITS if hasattr(item, name)}
    low, high = limits.get("ge", limits.get("gt")), limits.get("le", limits.get("lt"))
    if kind is int and low is not None and high is not None:
        descriptor.integer_range = [IntegerRange(from_value=low, to_value=high, step=1)]
    elif kind is float and low is not None and high is not None:
        descriptor.floating_point_range = [FloatingPointRange(from_value=float(low), to_value=float(high), step=0.0)]
    if get_origin(kind) is tuple:
        return list(default) or [""], descriptor
    return float(default) if kind is float else default, descriptor


def settings_of(values: Mapping[str, Any]) -> NodeSettings:
    """Settings of parameter values by name.

    Raises:
        ValueError: a value is out of its range or does not mean anything; says which.
    """
    nested: dict[str, Any] = {}
    for name, value in values.items():
        group, _, rest = name.partition(".")
        if rest:
            nested.setdefault(group, {})[rest] = value
        else:
            nested[name] = tuple(value) if isinstance(value, list) else value
    return parse_settings(NodeSettings, nested, "parameters")


def fixed_changes(before: NodeSettings, after: NodeSettings) -> list[str]:
    """Parameters that differ although they may not change while the node is configured."""
    return [name for name, _, changeable in fields() if not changeable and _value(before, name) != _value(after, name)]


def _value(settings: Settings, name: str) -> Any:
    for part in name.split("."):
        settings = getattr(settings, part)
    return settings
