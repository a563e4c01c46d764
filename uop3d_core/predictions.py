"""Detections, cameras and pose estimates as JSON files.

Detections and estimates share one form, a list with one entry per image::

    [{"image": name, "detections": [{"bbox_xyxy": [left, top, right, bottom], "label": text, "score": 0..1}]}]

Estimates add per detection "cam_T_obj" (4x4, translation in object units), and "scale" (metres per object unit),
"scale_std" (relative to it), "scale_source" and "size_m" (extents along x, y, z of obj in metres), null where unknown;
their "score" is the probability of the pose, 0 where none was found ("cam_T_obj" is then the identity). "category",
"other", "covariance" (6x6 or null) and "hypotheses" are those of PoseEstimate.
For a recording, which has no file names, an entry names its image by "stamp_ns", the time in its header in nanoseconds,
or by "index", its place among all images of the topic in the order of time, from 0.
A camera is ``{"width", "height", "K": 3x3}`` in pixels, with pixel centres at integers, and for a lens with distortion
"lens" ("brown" or "fisheye") and "distortion" (its coefficients in OpenCV's order).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.atomic import write_json
from uop3d_core.runs import read_json, read_json_object
from uop3d_core.types import Camera, Detection, PoseEstimate


def read_camera(path: Path) -> Camera:
    """Read a camera file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: something is missing or wrong in it.
    """
    content = read_json_object(path)
    missing = [key for key in ("width", "height", "K") if key not in content]
    if missing:
        raise ValueError(f'{path}: {", ".join(missing)} is missing; a camera is {{"width", "height", "K": 3x3}}')
    for key in ("width", "height"):
        if not isinstance(content[key], int) or isinstance(content[key], bool):
            raise ValueError(f"{path}: {key} must be a whole number of pixels, got {content[key]!r}")
    try:
        lens = str(content.get("lens", "pinhole"))
        return Camera(content["K"], content["width"], content["height"], lens, content.get("distortion", []))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error


def read_detections(path: Path) -> dict[str, list[Detection]]:
    """Read detections by image name; keys other than those of a detection are ignored.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not of the form above; the message says where.
    """
    detections: dict[str, list[Detection]] = {}
    for where, entry in _entries(path):
        name = entry.get("image")
        if not isinstance(name, str):
            raise ValueError(f'{where} must be an object with a text "image"')
        if name in detections:
            raise ValueError(f"{where}: image {name} is there twice; put its detections in one entry")
        detections[name] = _detections(entry, f"{where} ({name})")
    return detections


@dataclass(frozen=True)
class TimedDetections:
    """Detections in the images of a recording.

    Attributes:
        by_stamp: by the time of the image in nanoseconds.
        by_index: by the place of the image, from 0.
    """

    by_stamp: dict[int, list[Detection]]
    by_index: dict[int, list[Detection]]


def read_timed_detections(path: Path) -> TimedDetections:
    """Read detections by the time or the place of the image.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not of the form above; the message says where.
    """
    timed = TimedDetections({}, {})
    for where, entry in _entries(path):
        keys = [key for key in ("stamp_ns", "index") if key in entry]
        number = entry[keys[0]] if keys else None
        if len(keys) != 1 or isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise ValueError(f'{where} must have "stamp_ns" or "index", a whole number, to say which image it is of')
        table = timed.by_stamp if keys[0] == "stamp_ns" else timed.by_index
        if number in table:
            raise ValueError(f"{where}: {keys[0]} {number} is there twice; put its detections in one entry")
        table[number] = _detections(entry, f"{where} ({keys[0]} {number})")
    return timed


def _entries(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Entries, one per image, with where they stand."""
    content = read_json(path)
    if not isinstance(content, list):
        raise ValueError(f'{path}: must hold a list of {{"image", "detections"}}, not {type(content).__name__}')
    for index, entry in enumerate(content):
        where = f"{path}: entry {index}"
        if not isinstance(entry, dict):
            raise ValueError(f'{where} must be an object with "image" and "detections"')
        yield where, entry


def _detections(entry: dict[str, Any], where: str) -> list[Detection]:
    if not isinstance(entry.get("detections"), list):
        raise ValueError(f'{where}: "detections" must be a list')
    return [_detection(item, f"{where}, detection {i}") for i, item in enumerate(entry["detections"])]


def _detection(item: Any, where: str) -> Detection:
    if not isinstance(item, dict) or not isinstance(item.get("bbox_xyxy"), list):
        raise ValueError(f'{where} must be an object with "bbox_xyxy": [left, top, right, bottom]')
    score, label = item.get("score", 1.0), item.get("label", "")
    if not isinstance(label, str):
        raise ValueError(f"{where}: label must be a text, got {label!r}")
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise ValueError(f"{where}: score must be a number from 0 to 1, got {score!r}")
    try:
        return Detection(item["bbox_xyxy"], label, float(score))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def write_estimates(path: Path, estimates: Mapping[str, Sequence[PoseEstimate]]) -> None:
    """Write the estimates of images, by name."""
    entries = [
        {"image": name, "detections": [estimate_to_json(estimate) for estimate in found]}
        for name, found in estimates.items()
    ]
    write_json(path, entries)


def estimate_to_json(estimate: PoseEstimate) -> dict[str, Any]:
    """One detection with its pose."""
    return {
        "bbox_xyxy": [float(value) for value in estimate.detection.bbox_xyxy],
        "label": estimate.detection.label,
        "cam_T_obj": estimate.cam_T_obj.tolist(),
        "scale": _known(estimate.scale),
        "scale_std": _known(estimate.scale_std),
        "scale_source": estimate.scale_source or None,
        "size_m": None if np.isnan(estimate.size_m).any() else estimate.size_m.tolist(),
        "score": estimate.score,
        "category": estimate.category,
        "other": estimate.other,
        "covariance": None if estimate.covariance is None else estimate.covariance.tolist(),
        "hypotheses": [
            {"cam_T_obj": hypothesis.cam_T_obj.tolist(), "probability": hypothesis.probability}
            for hypothesis in estimate.hypotheses
        ],
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
