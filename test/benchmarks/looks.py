"""A template with known features, and what the network says of an image of it, to test the published inference on."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from reference.render_compare import look_at

from uop3d_core.geometry import pixel_rays, rigid
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Mesh

K = np.array([[60.0, 0, 15.5], [0, 60.0, 15.5], [0, 0, 1]])
CELLS = 32
T_OBJ = np.array([0.05, -0.08, 2.2])
DIMENSIONS = 24


def template() -> Mesh:
    sphere = trimesh.creation.icosphere(2)
    return Mesh(sphere.vertices * [0.45, 0.25, 0.2] * (1 + 0.3 * sphere.vertices[:, :1]), sphere.faces)


def random_bank(mesh: Mesh, rng: np.random.Generator) -> torch.Tensor:
    """Unit features (V, D) that vary smoothly over the surface: random waves."""
    phases = 8 * mesh.vertices @ rng.standard_normal((3, DIMENSIONS)) + rng.uniform(0, 2 * np.pi, DIMENSIONS)
    return F.normalize(torch.from_numpy(np.cos(phases)), dim=1)


def rendered(mesh: Mesh, bank: torch.Tensor, clutter: torch.Tensor, cam_R_obj: np.ndarray) -> torch.Tensor:
    """Unit features (D, h, w) of an image that shows the template before clutter."""
    ys, xs = np.mgrid[:CELLS, :CELLS]
    pixels = np.stack([xs.ravel(), ys.ravel()], axis=1)
    hits = RayCaster(mesh).first_hits_of_rays(pixel_rays(K, pixels), rigid(cam_R_obj, T_OBJ))
    features = clutter.repeat(CELLS * CELLS, 1)
    shown = torch.from_numpy(hits.mask)
    corners = bank[torch.from_numpy(mesh.faces[hits.face[hits.mask]])]
    features[shown] = (torch.from_numpy(hits.barycentric[hits.mask])[..., None] * corners).sum(1)
    return F.normalize(features, dim=1).T.reshape(-1, CELLS, CELLS)


def looked_at(seed: int) -> tuple[Mesh, torch.Tensor, torch.Tensor, np.ndarray, torch.Tensor]:
    """The template, its bank, its clutter, a view that is off the grid, and the features seen from there."""
    rng = np.random.default_rng(seed)
    mesh = template()
    bank, clutter = random_bank(mesh, rng), F.normalize(torch.from_numpy(rng.standard_normal(DIMENSIONS)), dim=0)
    truth = look_at(rng.uniform(0, 2 * np.pi), rng.uniform(-0.3, 0.8), rng.uniform(-0.3, 0.3))
    return mesh, bank, clutter, truth, rendered(mesh, bank, clutter, truth)
