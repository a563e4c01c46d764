"""A network that is always right: images painted with object coordinates, and what reads these out of the colours."""

import numpy as np
import torch
from scenes import look_at

from uop3d_core.cameras import rays_through
from uop3d_core.geometry import inverse_rigid
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, Mesh

CAMERA = Camera(np.array([[310.0, 2.0, 150.0], [0, 290.0, 90.0], [0, 0, 1]]), 320, 240)
CAM_T_OBJ = look_at([1.6, 1.1, 0.9])


class TruthfulBackbone:
    """Feeds the pixels' own colours through; with `TruthfulNetwork` it stands for a perfectly trained model."""

    channels, stride, licence, fingerprint = 3, 8, "none", "truth"

    def to(self, device: str) -> "TruthfulBackbone":
        return self

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, 4)  # twice the cells, as the network's output grid has


class TruthfulNetwork(torch.nn.Module):
    """Reads object coordinates out of the colours."""

    def __init__(self, template: Mesh) -> None:
        super().__init__()
        self.vertices = torch.tensor(template.vertices).float()

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        colours = features.permute(0, 2, 3, 1)
        distance = (colours[..., None, :] - 0.5 - self.vertices).square().sum(-1)
        clutter = torch.where(colours.sum(-1, keepdim=True) < 0.05, 1e4, -1e4)
        return torch.cat([-1000 * distance, clutter], -1), torch.zeros_like(colours)


def coordinates_painted(template: Mesh, camera: Camera, T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    caster = RayCaster(template)
    ys, xs = np.mgrid[: camera.height, : camera.width]
    rays = rays_through(camera, np.stack([xs.ravel(), ys.ravel()], -1).astype(float))
    obj_T_cam = inverse_rigid(T)
    hits = caster.first_hits(obj_T_cam[:3, 3], np.nan_to_num(rays) @ obj_T_cam[:3, :3].T)
    image = np.zeros((camera.height * camera.width, 3))
    image[hits.mask] = caster.points(hits)[hits.mask] + 0.5
    shape = camera.height, camera.width
    return np.round(255 * image).clip(0, 255).astype(np.uint8).reshape(*shape, 3), hits.mask.reshape(shape)
