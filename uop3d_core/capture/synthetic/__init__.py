"""Made-up captures with exact answers: mugs on tables, filmed by a hand-held camera going around them.

In: a seed. Out: captures in random world frames with the label ``canonical_T_world`` and the mesh of each mug.
Canonical frame: x from the mug's axis to its handle, z up, origin = centre of the bounding box, unit = its diagonal.
The same seed gives the same bytes on the same versions of the libraries.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from uop3d_core.atomic import replaced_when_complete
from uop3d_core.capture.nerfstudio import write_nerfstudio
from uop3d_core.capture.synthetic.orbit import random_camera, random_orbit
from uop3d_core.capture.synthetic.render import Renderer
from uop3d_core.capture.synthetic.scene import random_scene
from uop3d_core.geometry import Array, inverse_rigid, random_rotations, rigid_through_similarity
from uop3d_core.types import Capture, Frame, Mesh, Sim3


@dataclass(frozen=True)
class SyntheticCapture:
    """A capture with its answers.

    Attributes:
        capture: frames with cameras and exact masks, in a random world frame.
        canonical_T_world: the label.
        mesh: body and handle of the mug as two closed bodies that overlap; canonical frame.
    """

    capture: Capture
    canonical_T_world: Sim3
    mesh: Mesh


def make_mug(
    seed: int | Sequence[int],
    views: int = 24,
    pixels: int = 256,
    name: str = "mug_00",
    clutter: bool | None = None,
) -> SyntheticCapture:
    """Film one random mug.

    Args:
        seed: of everything random; a sequence of integers is one seed, too.
        views: frames of the video.
        pixels: width and height of the images.
        name: of the capture.
        clutter: whether boxes stand on the table; None leaves it to chance. They hide parts of the mug, never all.
    """
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, clutter)
    world_T_canonical = _random_gauge(rng)
    camera = random_camera(rng, pixels)
    renderer = Renderer(scene, camera)
    exposure, noise = rng.uniform(0.85, 1.2), rng.uniform(0.5, 3.0)
    frames = []
    for index, cam_T_obj in enumerate(random_orbit(rng, camera, views)):
        image, mask = renderer.picture(cam_T_obj, exposure * rng.normal(1, 0.03), noise, rng)
        cam_T_world = rigid_through_similarity(
            cam_T_obj, world_T_canonical.scale, world_T_canonical.R, world_T_canonical.t
        )
        frames.append(Frame(f"{index:04d}", camera, image, cam_T_world, mask))
    return SyntheticCapture(Capture(name, tuple(frames)), world_T_canonical.inverse(), scene.mug.mesh)


def make_mugs(count: int, seed: int, views: int = 24, pixels: int = 256) -> list[SyntheticCapture]:
    """Film `count` different mugs, named mug_00, mug_01, ...; different seeds share no mug."""
    return [make_mug((seed, index), views, pixels, f"mug_{index:02d}") for index in range(count)]


def write_category(folder: Path, count: int, seed: int, views: int = 24, pixels: int = 256) -> None:
    """Write `count` mugs as a category folder: mug_00/, mug_01/, ... in the nerfstudio layout, and labels.json.

    All or nothing. labels.json is for evaluation only; about two thirds of the mugs are its inner_split's train.

    Raises:
        FileExistsError: `folder` exists and is not an empty folder.
    """
    instances = {}
    with replaced_when_complete(Path(folder).absolute()) as draft:
        for index in range(count):
            mug = make_mug((seed, index), views, pixels, f"mug_{index:02d}")
            write_nerfstudio(mug.capture, draft / mug.capture.name)
            instances[mug.capture.name] = _label(mug)
        (draft / "labels.json").write_text(json.dumps(_labels(instances), indent=1) + "\n", encoding="utf-8")


def _random_gauge(rng: np.random.Generator) -> Sim3:
    """world_T_canonical: uniform rotation, scale log-uniform in 0.5-2, translation up to half of it per axis."""
    scale = float(np.exp(rng.uniform(np.log(0.5), np.log(2.0))))
    return Sim3(scale, random_rotations(1, rng)[0], scale * rng.uniform(-0.5, 0.5, 3))


def _label(mug: SyntheticCapture) -> dict[str, Any]:
    frames = {frame.name: _viewing_angles(frame.cam_T_world, mug.canonical_T_world) for frame in mug.capture.frames}
    return {"canonical_T_world": mug.canonical_T_world.matrix.tolist(), "frames": frames}


def _viewing_angles(cam_T_world: Array | None, canonical_T_world: Sim3) -> dict[str, float]:
    """Degrees: polar 0 = from above; azimuth 0 = the front points to the image's right, 90 = to the viewer."""
    assert cam_T_world is not None, "a Capture has only frames with a camera"
    eye = canonical_T_world.apply(inverse_rigid(cam_T_world)[:3, 3])
    polar = np.degrees(np.arccos(eye[2] / np.linalg.norm(eye)))
    azimuth = np.degrees(np.arctan2(eye[0], -eye[1])) % 360
    return {"nominal_polar": round(float(polar), 3), "nominal_azimuth": round(float(azimuth), 3)}


def _labels(instances: dict[str, Any]) -> dict[str, Any]:
    names = list(instances)
    train = -(-2 * len(names) // 3)
    return {
        "category": "mug",
        "split": "synthetic",
        "canonical_frame": "x = front, y = left, z = up; origin = centre of the object bounding box; "
        "unit = length of the bounding-box diagonal",
        "symmetry": "body is rotationally symmetric about z; the handle alone defines azimuth: +x points from the axis "
        "to the handle. Report errors twice: full rotation, and up-axis only (azimuth ignored).",
        "transform": "p_canonical = canonical_T_world * p_world (4x4 similarity, column vectors)",
        "instances": instances,
        "inner_split": {"train": names[:train], "test": names[train:]},
    }
