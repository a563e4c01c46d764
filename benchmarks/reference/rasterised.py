"""The published pose inference with the renderer that it was published with, PyTorch3D, so that its time can be told.

In: a template mesh (obj frame) with one feature per vertex, and the feature map of one image crop with its intrinsics.
The translation is given, as published. Out: cam_R_obj and its score. Cells are as in `render_compare`, whose shortcuts
(rays instead of a rasteriser, similarities interpolated instead of features) are not taken here: every view of the grid
is rendered beforehand in the middle of the image, its features are warped to where the object is, and each step of the
refinement renders features and differentiates them through the rasteriser.

PyTorch3D is no dependency of this project; where it is not installed this module cannot be imported.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pytorch3d.ops import interpolate_face_attributes
from pytorch3d.renderer.mesh import rasterize_meshes
from pytorch3d.structures import Meshes
from reference.descent import descend
from reference.render_compare import RenderCompareSettings, view_grid
from torch import Tensor

from uop3d_core.geometry import Array
from uop3d_core.types import Mesh

FILLED = 0.8
"""Share of the image's side that the template's diagonal takes in views rendered beforehand."""
AWAY = 4.0
"""Object units from the camera to the object in them."""


class RasterisedInference:
    """The template with its features, and what it looks like from all views of the grid."""

    def __init__(
        self, template: Mesh, bank: Tensor, clutter: Tensor, side: int, settings: RenderCompareSettings | None = None
    ) -> None:
        """Render the grid.

        Args:
            template: mesh with V vertices, obj frame.
            bank: (V, D) unit features of the vertices.
            clutter: (N, D) unit features of anything else.
            side: cells along the side of the feature maps to come.
            settings: the constants; the published ones if None.
        """
        self.settings, self.side, self.clutter = settings or RenderCompareSettings(), side, clutter.float()
        self._vertices = torch.tensor(template.vertices).float()
        self._faces = torch.tensor(template.faces)
        self._corners = bank.float()[self._faces]
        self.grid = torch.tensor(view_grid(self.settings)).float()
        self._middle = (side - 1) / 2
        self._focal = FILLED * side * AWAY
        K = torch.tensor([[self._focal, 0, self._middle], [0, self._focal, self._middle], [0, 0, 1]])
        with torch.no_grad():
            maps = [self.render(R, torch.tensor([0.0, 0, AWAY]), K) for R in self.grid]
        self._maps = torch.stack([torch.cat([render, shown[None].float()]) for render, shown in maps])

    def render(self, cam_R_obj: Tensor, cam_t_obj: Tensor, K: Tensor) -> tuple[Tensor, Tensor]:
        """Features (D, side, side) of the posed template, and (side, side) bool: where it is seen."""
        uvw = (self._vertices @ cam_R_obj.T + cam_t_obj) @ K.T
        across = 1 - (2 * uvw[:, :2] / uvw[:, 2:] + 1) / self.side  # x to the left, y up, 1 at the border
        mesh = Meshes([torch.cat([across, uvw[:, 2:]], dim=1)], [self._faces])
        face, _, weights, _ = rasterize_meshes(mesh, self.side, faces_per_pixel=1, perspective_correct=False)
        features = interpolate_face_attributes(face, weights, self._corners)[0, :, :, 0]
        return features.permute(2, 0, 1), face[0, :, :, 0] >= 0

    def estimate(
        self, features: Tensor, K: Array, cam_t_obj: Array, inside: Array | None = None
    ) -> tuple[Array, float]:
        """Find the rotation under which the rendered template looks most like the image.

        Args:
            features: (D, side, side) unit features of the image's cells.
            K: (3, 3) intrinsics of the feature map, in cells.
            cam_t_obj: (3,) true translation, in object units.
            inside: (side, side) bool, False where the crop has no image; None if it has everywhere.

        Returns:
            cam_R_obj (3, 3) and its score in [-1, 1], higher is better.
        """
        seen = features.float()
        K_cells, t = torch.tensor(K).float(), torch.tensor(cam_t_obj).float()
        there = torch.ones_like(seen[0], dtype=torch.bool) if inside is None else torch.from_numpy(inside)
        background = torch.einsum("nd,dhw->nhw", self.clutter, seen).amax(0)

        def score(rendered: Tensor, shown: Tensor) -> Tensor:
            alike = (rendered * seen).sum(-3)
            return torch.where(shown & there, torch.maximum(alike, background), background).mean((-2, -1))

        def loss(T: Tensor) -> Tensor:
            return -score(*self.render(T[:3, :3], t, K_cells))

        with torch.no_grad():
            warped = self._warped(K_cells, t)
            start = self.grid[int(score(warped[:, :-1], warped[:, -1] > 0.5).argmax())]
        s = self.settings
        T = torch.block_diag(start, torch.ones(1, 1))
        T = descend(T, loss, s.refinement_steps, s.learning_rate, rotate_only=True, largest_step=s.largest_step)
        with torch.no_grad():
            return T[:3, :3].double().numpy(), float(-loss(T))

    def _warped(self, K: Tensor, t: Tensor) -> Tensor:
        """The rendered views (G, D + 1, side, side) where and as large as the object is, as if it had no depth."""
        cells = torch.arange(self.side).float()
        y, x = torch.meshgrid(cells, cells, indexing="ij")
        plane = torch.stack([(x - K[0, 2]) / K[0, 0] * t[2] - t[0], (y - K[1, 2]) / K[1, 1] * t[2] - t[1]], -1)
        source = plane * (self._focal / AWAY)
        spots = (source * 2 / self.side).expand(len(self._maps), -1, -1, -1)
        return F.grid_sample(self._maps, spots, align_corners=False)
