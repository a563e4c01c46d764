"""What every vertex of a capture looks like, seen from several sides.

In: Capture and its coarse Mesh (world frame), a FeatureBackbone. Out: per-vertex features of all views.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F

from uop3d_core.backbones import FeatureBackbone
from uop3d_core.config import SurfaceSettings
from uop3d_core.crops import Crop
from uop3d_core.geometry import Array, inverse_rigid, project, transform
from uop3d_core.images import mask_box
from uop3d_core.raycast import RayCaster, vertex_normals
from uop3d_core.types import Capture, Frame, Mesh

BATCH = 8
MIN_FACING = 0.1
OCCLUSION_TOLERANCE = 0.01


def vertex_observations(
    capture: Capture, mesh: Mesh, backbone: FeatureBackbone, settings: SurfaceSettings
) -> Iterator[tuple[Array, Array]]:
    """For every usable frame: the vertices it shows (n,) int and their features (n, C) float32, L2-normalised."""
    caster, normals = RayCaster(mesh), vertex_normals(mesh)
    frames = [(frame, mask) for frame in capture.frames if (mask := frame.mask).any()]
    for start in range(0, len(frames), BATCH):
        batch = frames[start : start + BATCH]
        pixels = settings.cells * backbone.stride
        crops = [Crop.around(frame.camera, mask_box(mask), pixels, settings.margin) for frame, mask in batch]
        images = np.stack([crop.sample(frame.image) for crop, (frame, _) in zip(crops, batch, strict=True)])
        grids = backbone(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255).float().cpu()
        for grid, crop, (frame, mask) in zip(grids, crops, batch, strict=True):
            seen, uv = visible_vertices(caster, normals, frame, mask)
            yield seen, _sample(grid, crop.to_crop(uv), pixels)


def visible_vertices(caster: RayCaster, normals: Array, frame: Frame, mask: Array) -> tuple[Array, Array]:
    """Vertices that a frame shows: unoccluded, facing the camera, inside image and mask.

    Returns:
        indices (n,), pixels (n, 2).
    """
    assert frame.cam_T_world is not None
    mesh = caster.mesh
    eye = inverse_rigid(frame.cam_T_world)[:3, 3]
    to_eye = eye - mesh.vertices
    facing = (normals * to_eye).sum(1) > MIN_FACING * np.linalg.norm(to_eye, axis=1)
    uv = project(frame.camera.K, transform(frame.cam_T_world, mesh.vertices))
    with np.errstate(invalid="ignore"):
        cell = np.rint(uv)
        inside = ((cell >= 0) & (cell < [frame.camera.width, frame.camera.height])).all(1) & facing
    candidates = np.flatnonzero(inside)
    column, row = cell[candidates].astype(int).T
    candidates = candidates[mask[row, column]]
    free = caster.visible(mesh.vertices[candidates], eye, OCCLUSION_TOLERANCE * mesh.diameter)
    return candidates[free], uv[candidates[free]]


def _sample(grid: torch.Tensor, crop_uv: Array, pixels: int) -> Array:
    """Bilinear features (n, C) of a (C, h, w) grid at crop pixels (n, 2): pixel edges map to [-1, 1]."""
    position = torch.from_numpy((2 * crop_uv + 1) / pixels - 1).float()
    sampled = F.grid_sample(grid[None], position[None, None], align_corners=False, padding_mode="border")
    return F.normalize(sampled[0, :, 0].T, dim=1).numpy()
