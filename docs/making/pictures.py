"""The five pictures of docs/index.md, from a finished demo.

    python docs/making/pictures.py runs/demo

In: the folder that `make demo` wrote. Out: docs/images/concept_1.jpg to concept_5.jpg.
Colours stand for places on the template: the same place has the same colour on every object.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from uop3d_core import Detection, Overlay, PoseEstimator, read_capture
from uop3d_core.geometry import Array
from uop3d_core.images import mask_box
from uop3d_core.pipeline.loops import unit_frame
from uop3d_core.raycast import RayCaster
from uop3d_core.report.shading import ShadedMesh, blend
from uop3d_core.report.sheets import CORNER, contact_sheet, write_image
from uop3d_core.report.tiles import CLAY, tile_camera
from uop3d_core.runs import MESH, Run, load
from uop3d_core.types import Frame, Mesh, Sim3, Template

OUT = Path(__file__).resolve().parents[1] / "images"
SIDE = 220
COLUMNS = 5


def main(demo: Path) -> None:
    """Draw all five."""
    run, captures = Run(demo / "run"), demo / "captures" / "mug"
    aligned = run.read_alignment()
    template = run.read_template(aligned)
    names = [name for name, entry in aligned.alignment.captures.items() if entry.accepted][:COLUMNS]
    unseen = sorted(path.name for path in captures.glob("mug_*") if path.name not in aligned.alignment.captures)
    estimator = PoseEstimator.load(run.model)
    frames = [frame for name in unseen for frame in read_capture(captures / name).frames[2::5]][:COLUMNS]
    strips = (
        [strip(read_capture(captures / name).frames) for name in names],
        [in_its_world(surface(run, name)) for name in names],
        [in_the_frame(surface(run, name), aligned.alignment.captures[name].obj_T_world, template) for name in names],
        [beliefs(estimator, frame) for frame in frames],
        [pose(estimator, frame) for frame in frames],
    )
    for number, tiles in enumerate(strips, start=1):
        write_image(OUT / f"concept_{number}.jpg", contact_sheet(tiles, COLUMNS))


def strip(frames: Sequence[Frame]) -> Array:
    """Three frames of a capture, one above the other."""
    chosen = [frames[k * len(frames) // 3].image for k in range(3)]
    return np.concatenate([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for image in chosen])


def surface(run: Run, name: str) -> Mesh:
    """The coarse mesh of a capture, in its world."""
    mesh = load(run.mesh(name), None, MESH)
    if mesh is None:
        raise FileNotFoundError(f"{run.mesh(name)} is gone: run the demo again")
    return mesh


def in_its_world(mesh: Mesh) -> Array:
    """A capture's mesh as it lies in its own world, centred and brought to size; nobody knows its places yet."""
    return draw(
        mesh.transformed(unit_frame(mesh)), np.tile(np.asarray(CLAY, dtype=np.float64), (len(mesh.vertices), 1))
    )


def in_the_frame(mesh: Mesh, obj_T_world: Sim3, template: Template) -> Array:
    """The same in the common frame, coloured by where it lies on the template."""
    moved = mesh.transformed(obj_T_world)
    return draw(moved, place_colours(moved.vertices, template))


def place_colours(points: Array, template: Template) -> Array:
    """(N, 3) colours 0..255 of (N, 3) points in obj."""
    low, high = template.mesh.vertices.min(0), template.mesh.vertices.max(0)
    return 40 + 200 * np.clip((points - low) / (high - low), 0, 1)


def draw(mesh: Mesh, colours: Array) -> Array:
    """A mesh with colours at its vertices, from the front left and above."""
    camera = tile_camera(SIDE)
    brightness, coverage = ShadedMesh(mesh).draw(camera, CORNER)
    hits = RayCaster(mesh).render(camera, CORNER)
    painted = np.einsum("...k,...kd->...d", hits.barycentric, colours[mesh.faces[hits.face]])
    painted = painted.reshape(SIDE, SIDE, 3) * (0.35 + 0.75 * brightness[..., None])
    return blend(np.full((SIDE, SIDE, 3), 255, np.uint8), painted, coverage)


def beliefs(estimator: PoseEstimator, frame: Frame) -> Array:
    """A crop, and beside it what the network says of its pixels."""
    crop = estimator.crop(frame.camera, mask_box(frame.mask))
    pixels = crop.sample(frame.image)
    [said] = estimator.beliefs([pixels], [crop])
    template = estimator.model.template
    place = template.mesh.vertices[said.vertices[:, 0]]
    canvas, alpha = np.zeros((said.cells, said.cells, 3)), np.zeros((said.cells, said.cells))
    x, y = np.clip(np.rint(said.pixels / crop.pixels * said.cells - 0.5), 0, said.cells - 1).astype(int).T
    canvas[y, x], alpha[y, x] = place_colours(place, template), said.foreground > 0.5
    shown = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    canvas, alpha = (cv2.resize(part, (SIDE, SIDE), interpolation=cv2.INTER_NEAREST) for part in (canvas, alpha))
    return np.concatenate([shown, blend(shown, canvas, 0.85 * alpha)])


def pose(estimator: PoseEstimator, frame: Frame) -> Array:
    """The estimated pose drawn into the picture."""
    estimates = estimator(frame, [Detection(mask_box(frame.mask), estimator.model.category)])
    picture = Overlay(estimator.model.template).draw(frame.image, frame.camera, estimates)
    return cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
