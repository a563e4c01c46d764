"""The published pose inference, as a baseline: a grid of views, each compared by rendering, the best one refined.

In: a template mesh (obj frame) with one feature per vertex, and the feature map of one image crop with its intrinsics.
The translation is given, as published; only the rotation is estimated. (Without that help, it is some function of the
rotation, as from a box.) Out: cam_R_obj and its score.
Cells of the feature map are its pixels: integer centres, (x, y), `K` in cells. Features have length 1.

L. Sommer, A. Jesslen, E. Ilg, A. Kortylewski, "Unsupervised Learning of Category-Level 3D Pose from Object-Centric
Videos", CVPR 2024. Differences: faces are found by ray casting; every view of the grid is rendered where the object is
(published: rendered once in the image centre and warped); as rendering is linear, similarities to the vertices are
interpolated instead of the features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from reference.descent import descend
from torch import Tensor

from uop3d_core.geometry import Array, pixel_rays, rigid
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Mesh

MIN_AREA = 1e-9
Translation = Array | Callable[[Array], Array]
"""cam_t_obj (3,) in object units, or what gives it for a rotation cam_R_obj (3, 3)."""


@dataclass(frozen=True)
class RenderCompareSettings:
    """Constants of the published inference.

    Attributes:
        azimuths: views around the object.
        elevations: from -30 to 60 degrees.
        rolls: about the optical axis, from -30 to 30 degrees.
        refinement_steps: Adam steps from the best view; the last one is kept.
        learning_rate: of these steps, in radians.
        largest_step: bound on the turn about each axis in one step, in radians.
    """

    azimuths: int = 12
    elevations: int = 4
    rolls: int = 3
    refinement_steps: int = 30
    learning_rate: float = 2e-2
    largest_step: float = 0.1


@dataclass(frozen=True, eq=False)
class Comparison:
    """A feature map and a template, ready for scoring rotations.

    Attributes:
        caster: the template's mesh with V vertices, obj frame.
        vertex_similarity: (V, P) dot products of vertex and cell features.
        background: (P,) highest dot product with a clutter feature.
        cells: (P, 2) x and y of every cell, row by row.
        inside: (P,) bool, False where the crop has no image; only clutter is compared there.
        K: (3, 3) intrinsics in cells.
        cam_t_obj: translation, given or as a function of the rotation.
    """

    caster: RayCaster
    vertex_similarity: Tensor
    background: Tensor
    cells: Array
    inside: Array
    K: Array
    cam_t_obj: Translation

    def score(self, cam_R_obj: Tensor) -> Tensor:
        """Mean similarity over all cells, each with the render or with clutter, whichever fits better.

        The gradient is that of the interpolation weights; which face a cell shows counts as constant, and so does a
        translation that depends on the rotation.

        Args:
            cam_R_obj: (3, 3) float64.
        """
        mesh, R = self.caster.mesh, cam_R_obj.detach().numpy()
        cam_t_obj = self.cam_t_obj(R) if callable(self.cam_t_obj) else self.cam_t_obj
        hits = self.caster.first_hits_of_rays(pixel_rays(self.K, self.cells), rigid(R, cam_t_obj))
        shown = np.flatnonzero(hits.mask & self.inside)
        corners = torch.from_numpy(mesh.faces[hits.face[shown]])
        uv = self._project(torch.tensor(mesh.vertices) @ cam_R_obj.T + torch.tensor(cam_t_obj))
        weights = barycentric(torch.from_numpy(self.cells[shown]), uv[corners])
        cell = torch.from_numpy(shown)
        rendered = (weights * self.vertex_similarity[corners, cell[:, None]]).sum(1)
        gain = (rendered - self.background[cell]).clamp_min(0).sum()
        return self.background.mean() + gain / len(self.background)

    def _project(self, points_cam: Tensor) -> Tensor:
        uvw = points_cam @ torch.tensor(self.K).T
        return uvw[:, :2] / uvw[:, 2:]


def estimate_rotation(
    template: Mesh,
    bank: Tensor,
    clutter: Tensor,
    features: Tensor,
    K: Array,
    cam_t_obj: Translation,
    settings: RenderCompareSettings | None = None,
    inside: Array | None = None,
) -> tuple[Array, float]:
    """Find the rotation under which the rendered template looks most like the image.

    Args:
        template: mesh with V vertices, obj frame.
        bank: (V, D) unit features of the vertices.
        clutter: (D,) or (N, D) unit features of anything else.
        features: (D, h, w) unit features of the image's cells.
        K: (3, 3) intrinsics of the feature map, in cells.
        cam_t_obj: (3,) true translation, in object units; or a function of the rotation.
        settings: the constants; the published ones if None.
        inside: (h, w) bool, False where the crop has no image; None if it has everywhere.

    Returns:
        cam_R_obj (3, 3) and its score in [-1, 1], higher is better.

    Raises:
        ValueError: sizes do not fit.
    """
    settings = settings or RenderCompareSettings()
    comparison = prepare(template, bank, clutter, features, K, cam_t_obj, inside)
    grid = torch.from_numpy(view_grid(settings))
    with torch.no_grad():
        start = grid[int(torch.stack([comparison.score(R) for R in grid]).argmax())]
    cam_R_obj = descend(
        torch.block_diag(start, torch.ones(1, 1, dtype=start.dtype)),
        lambda T: -comparison.score(T[:3, :3]),
        settings.refinement_steps,
        settings.learning_rate,
        rotate_only=True,
        largest_step=settings.largest_step,
    )[:3, :3]
    return cam_R_obj.numpy(), float(comparison.score(cam_R_obj))


def prepare(
    template: Mesh,
    bank: Tensor,
    clutter: Tensor,
    features: Tensor,
    K: Array,
    cam_t_obj: Translation,
    inside: Array | None = None,
) -> Comparison:
    """Everything that does not depend on the rotation; arguments as for `estimate_rotation`.

    Raises:
        ValueError: sizes do not fit.
    """
    if bank.shape != (len(template.vertices), len(features)) or clutter.shape[-1] != len(features):
        raise ValueError(
            f"bank {tuple(bank.shape)} and clutter {tuple(clutter.shape)} do not fit {len(template.vertices)} vertices "
            f"and features {tuple(features.shape)}"
        )
    height, width = features.shape[1:]
    flat = features.flatten(1).double()
    y, x = np.mgrid[:height, :width]
    return Comparison(
        caster=RayCaster(template),
        vertex_similarity=bank.double() @ flat,
        background=(clutter.double().reshape(-1, len(features)) @ flat).amax(0),
        cells=np.stack([x.ravel(), y.ravel()], axis=1).astype(np.float64),
        inside=np.ones(height * width, dtype=bool) if inside is None else inside.ravel(),
        K=np.asarray(K, dtype=np.float64),
        cam_t_obj=cam_t_obj if callable(cam_t_obj) else np.asarray(cam_t_obj, dtype=np.float64),
    )


def barycentric(points: Tensor, corners: Tensor) -> Tensor:
    """Weights (N, 3) of triangle corners (N, 3, 2) at points (N, 2), linear in the image plane; they sum to 1."""
    edges = corners - points[:, None]
    a, b, c = edges.unbind(1)
    areas = torch.stack([_cross(b, c), _cross(c, a), _cross(a, b)], dim=1)
    total = areas.sum(1, keepdim=True)
    return areas / torch.where(total.abs() < MIN_AREA, MIN_AREA, total)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def view_grid(settings: RenderCompareSettings) -> Array:
    """cam_R_obj (G, 3, 3) of cameras around an object with x front, y left, z up; azimuth 0 sees its front."""
    azimuths = np.linspace(0, 2 * np.pi, settings.azimuths, endpoint=False)
    elevations = np.linspace(-np.pi / 6, np.pi / 3, settings.elevations)
    rolls = np.linspace(-np.pi / 6, np.pi / 6, settings.rolls)
    return np.array([look_at(a, e, r) for a in azimuths for e in elevations for r in rolls])


def look_at(azimuth: float, elevation: float, roll: float) -> Array:
    """cam_R_obj (3, 3) of a camera that looks at the object from a direction; angles in radians."""
    ca, sa, ce, se = np.cos(azimuth), np.sin(azimuth), np.cos(elevation), np.sin(elevation)
    right, forward = np.array([-sa, ca, 0]), np.array([-ce * ca, -ce * sa, -se])
    cr, sr = np.cos(roll), np.sin(roll)
    turn = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return turn @ np.stack([right, np.cross(forward, right), forward])
