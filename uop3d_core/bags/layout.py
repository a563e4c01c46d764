"""A Foxglove layout for poses: 3-D view, images with the objects drawn in, objects as text, and their scores.

In: the topics of the images and their calibration. Out: the JSON object that Foxglove imports ("Import from file").
"""

from __future__ import annotations

from typing import Any

from uop3d_core.bags.replay import MARKERS, OBJECTS, POSES


def layout(image: str, info: str | None, live: bool = False) -> dict[str, Any]:
    """The layout.

    Args:
        image: topic of the images.
        info: topic of their camera_info; None where there is none, and the objects cannot be drawn into the images.
        live: whether diagnostics of a running node take the place of the scores.
    """
    view = {
        "followMode": "follow-none",
        "scene": {"transforms": {"axisScale": 0.15, "labelSize": 0.05}},
        "cameraState": {
            "perspective": True,
            "distance": 1.5,
            "phi": 150,
            "thetaOffset": 180,
            "targetOffset": [0, 0, 0.6],
            "target": [0, 0, 0],
            "targetOrientation": [0, 0, 0, 1],
            "fovy": 45,
            "near": 0.01,
            "far": 100,
        },
        "topics": {MARKERS: {"visible": True}, POSES: {"visible": False, "type": "axis"}},
    }
    calibration = {} if info is None else {"calibrationTopic": info}
    panels: dict[str, Any] = {
        "3D!objects": view,
        "Image!camera": {
            "imageMode": {"imageTopic": image, **calibration},
            "topics": {MARKERS: {"visible": info is not None}},
        },
        "RawMessages!objects": {"topicPath": f"{OBJECTS}.objects[:]", "diffEnabled": False},
    }
    if live:
        health = "DiagnosticSummary!health"
        panels[health] = {"minLevel": 0, "pinnedIds": [], "hardwareIdFilter": "", "topicToRender": "/diagnostics"}
    else:
        health = "Plot!scores"
        score = {"value": f"{OBJECTS}.objects[:].score", "enabled": True, "timestampMethod": "headerStamp"}
        panels[health] = {"paths": [score], "minYValue": 0, "maxYValue": 1, "showLegend": True, "xAxisVal": "timestamp"}
    return {
        "configById": panels,
        "globalVariables": {},
        "userNodes": {},
        "layout": {
            "first": {"first": "3D!objects", "second": "Image!camera", "direction": "row", "splitPercentage": 55},
            "second": {"first": health, "second": "RawMessages!objects", "direction": "row"},
            "direction": "column",
            "splitPercentage": 70,
        },
    }
