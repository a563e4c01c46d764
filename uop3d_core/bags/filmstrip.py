"""What RViz shows of a recording: its markers, drawn from the messages into the images.

In: a recording with markers, and one with the images, which may be the same. Out: a sheet of pictures.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.bags.images import rgb_of
from uop3d_core.bags.reading import Bag, Sources
from uop3d_core.bags.replay import MARKERS, NO_FRAME, OBJECTS
from uop3d_core.geometry import Array, transform
from uop3d_core.messages.markers import ADD, DELETE, DELETE_ALL, LINE_LIST, TEXT, TRIANGLE_LIST
from uop3d_core.messages.reading import camera_of, pose_transform_of, stamp_ns
from uop3d_core.report.sheets import contact_sheet
from uop3d_core.report.things import Arrow, Solid, Text, draw_things
from uop3d_core.types import Camera, Mesh

PICTURES, COLUMNS = 8, 4


def filmstrip(
    markers: Path,
    images: Path,
    sources: Sources,
    camera: Camera | None = None,
    rectified: bool = False,
    pictures: int = PICTURES,
    columns: int = COLUMNS,
) -> Array:
    """Images spread over the recording, with all markers that stand at their time; (H, W, 3) uint8.

    Args:
        markers: recording that `replay` wrote.
        images: recording with the images.
        sources: topics of the images and their camera.
        camera: of the images, where the recording does not tell it.
        rectified: whether the images are rectified.
        pictures: how many images at most.
        columns: of the sheet.

    Raises:
        ValueError: a recording cannot be read, or no image has markers of its time.
    """
    scenes = _scenes(markers)
    stamps = sorted(scenes)
    chosen = {stamps[i] for i in np.linspace(0, len(stamps) - 1, min(pictures, len(stamps))).round().astype(int)}
    drawn: dict[int, Array] = {}
    with Bag(images) as bag:
        if camera is None and sources.info is not None:
            camera = camera_of(next(bag.messages([sources.info])).content, rectified)
        for message in bag.messages([sources.image]):
            stamp = stamp_ns(message.content.header.stamp)
            if stamp in chosen and camera is not None:
                drawn[stamp] = _draw(message.content, camera, scenes[stamp])
    if not drawn:
        raise ValueError(f"{markers} and {images} share no image: they are not of the same replay")
    return contact_sheet([drawn[stamp] for stamp in sorted(drawn)], columns)


def _scenes(path: Path) -> dict[int, list[Any]]:
    """Markers that stand at the time of every image, by its stamp: added, and not yet deleted."""
    scenes: dict[int, list[Any]] = {}
    standing: dict[tuple[str, int], Any] = {}
    stamp = 0
    with Bag(path) as bag:
        for message in bag.messages({topic for topic in (OBJECTS, MARKERS) if topic in bag.topics}):
            if message.raw.topic == OBJECTS:  # written before the markers of the same image, which may be none
                stamp = stamp_ns(message.content.header.stamp)
                continue
            for marker in message.content.markers:
                if marker.action == DELETE_ALL:
                    standing.clear()
                elif marker.action == DELETE:
                    standing.pop((marker.ns, marker.id), None)
                elif marker.action == ADD:
                    standing[marker.ns, marker.id] = marker
            scenes[stamp] = list(standing.values())
    if not scenes:
        raise ValueError(f"{path} has no messages of {MARKERS}: it is no recording that replay wrote")
    return scenes


def _draw(image: Any, camera: Camera, markers: list[Any]) -> Array:
    solids, arrows, texts = list[Solid](), list[Arrow](), list[Text]()
    for marker in markers:
        if marker.header.frame_id != (image.header.frame_id.lstrip("/") or NO_FRAME):
            raise ValueError(f"a marker is in frame {marker.header.frame_id}, the image in {image.header.frame_id}")
        cam_T_marker = pose_transform_of(marker.pose)
        if marker.type == TRIANGLE_LIST:
            solids.append(_solid(marker, cam_T_marker))
        elif marker.type == LINE_LIST:
            arrows += _arrows(marker, cam_T_marker)
        elif marker.type == TEXT:
            texts.append(Text(cam_T_marker[:3, 3], marker.text))
    return draw_things(rgb_of(image), camera, solids, arrows, texts)


def _solid(marker: Any, cam_T_marker: Array) -> Solid:
    scale = np.array([marker.scale.x, marker.scale.y, marker.scale.z])
    corners, index = np.unique(_points(marker), axis=0, return_inverse=True)
    mesh = Mesh(transform(cam_T_marker, corners * scale), index.reshape(-1, 3))
    return Solid(mesh, _rgb(marker.color), float(marker.color.a))


def _arrows(marker: Any, cam_T_marker: Array) -> Iterator[Arrow]:
    ends = transform(cam_T_marker, _points(marker)).reshape(-1, 2, 3)
    for (start, tip), colour in zip(ends, marker.colors[::2], strict=True):
        yield Arrow(start, tip, _rgb(colour))


def _points(marker: Any) -> Array:
    return np.array([(point.x, point.y, point.z) for point in marker.points])


def _rgb(colour: Any) -> Array:
    return 255 * np.array([colour.r, colour.g, colour.b])
