"""Showing scenes to the node, and looking at what it makes of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from ros.robot import Robot
from ros.scenery import CAMERA, SIZE_M

from uop3d_core.geometry import rigid, rotation_error
from uop3d_core.messages.reading import transform_of

HZ = 15
Scene = tuple[np.ndarray, list[Any]]


def film(robot: Robot, scene: Scene, seconds: float = 1.5, start_ns: int | None = None, info: bool = True) -> list[int]:
    """Show a scene for some time. Returns the stamps."""
    shown, begin = [], start_ns or time.time_ns()
    for index in range(int(seconds * HZ)):
        at = begin + index * 1_000_000_000 // HZ
        if info:
            robot.info(CAMERA, at)
        robot.image(scene[0], at)
        robot.detect(scene[1], at)
        shown.append(at)
        time.sleep(1 / HZ)
    return shown


def until(robot: Robot, scene: Scene, what: Callable[[], Any], **options: Any) -> Any:
    """Show a scene until something is true."""
    for _ in range(20):
        film(robot, scene, 0.5, **options)
        if value := what():
            return value
    raise AssertionError(f"in vain; diagnostics: {robot.summary()}")


def last_transform(robot: Robot, name: str) -> np.ndarray:
    return transform_of([t for _, t in robot.transforms if t.child_frame_id == name][-1].transform)


def names(robot: Robot) -> set[str]:
    return {transform.child_frame_id for _, transform in robot.transforms}


def one_name(robot: Robot) -> str:
    [name] = names(robot)
    return name


def errors(found: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Degrees, and metres, of a transform in metres from one in object units."""
    turn = np.rad2deg(rotation_error(found[:3, :3], truth[:3, :3]))
    return float(turn), float(np.linalg.norm(found[:3, 3] - SIZE_M * truth[:3, 3]))


def about_y(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return rigid(np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]), np.zeros(3))
