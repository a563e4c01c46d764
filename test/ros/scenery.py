"""What the tests' camera films: potatoes painted with their own coordinates, and a model that reads these perfectly.

The model is exported to a file, so the node loads it as it loads any other. Poses are known exactly.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from scenes import potato

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.deploy.graph import onnx_graph
from uop3d_core.geometry import rigid, transform
from uop3d_core.images import mask_box
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Camera, Detection, Frame, Mesh, Template

SIZE_M = 0.2
"""Diagonal of the potato's box."""
CAMERA = Camera(np.array([[600.0, 0, 319.5], [0, 600.0, 239.5], [0, 0, 1]]), 640, 480)
FACING = np.column_stack([[0, 0, -1], [1, 0, 0], [0, -1, 0]]).astype(float)


class Colours:
    """A backbone that passes colours on."""

    channels, stride, licence, fingerprint = 3, 8, "none", "colours"

    def to(self, device: str) -> Colours:
        return self

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.avg_pool2d(images, 4)


class Reader(torch.nn.Module):
    """Reads object coordinates out of the colours."""

    def __init__(self, vertices: np.ndarray) -> None:
        super().__init__()
        self.register_buffer("vertices", torch.tensor(vertices).float())

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        colours = features.permute(0, 2, 3, 1)
        distance = (colours[..., None, :] - 0.5 - self.vertices).square().sum(-1)
        clutter = torch.where(colours.sum(-1, keepdim=True) < 0.05, 1e4, -1e4)
        return torch.cat([-1000 * distance, clutter], -1), torch.zeros_like(colours)


def unit_potato() -> Mesh:
    mesh = potato(2)
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Mesh((mesh.vertices - centre) / mesh.diameter, mesh.faces)


def write_model(path: Path, category: str = "potato") -> Path:
    mesh = unit_potato()
    about = {"backbone": {"fingerprint": "colours", "licence": "none", "channels": 3}, "captures": ["a"]}
    model = Model("colours", Template(category, mesh), TrainSettings(cells=16), Reader(mesh.vertices).eval(), about)
    path.write_bytes(onnx_graph(model, Colours()).SerializeToString())
    return path


def placed(x: float = 0.0, y: float = 0.0, z: float = 3.0, yaw: float = 0.4) -> np.ndarray:
    """cam_T_obj in object units, turned about the vertical."""
    c, s = np.cos(yaw), np.sin(yaw)
    turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    return rigid(turn @ FACING, np.array([x, y, z]))


class Painter:
    """Paints objects into images of one camera."""

    def __init__(self, camera: Camera = CAMERA) -> None:
        self.camera, self.mesh = camera, unit_potato()
        self._caster = RayCaster(self.mesh)

    def paint(self, *poses: np.ndarray) -> tuple[np.ndarray, list[Detection]]:
        """Image (H, W, 3) and a box per object."""
        shape = self.camera.height, self.camera.width
        image, boxes = np.zeros((*shape, 3), np.uint8), []
        for cam_T_obj in poses:
            hits = self._caster.render(self.camera, cam_T_obj)
            colours = np.round(255 * (self._caster.points(hits)[hits.mask] + 0.5)).clip(0, 255)
            image.reshape(-1, 3)[hits.mask] = colours.astype(np.uint8)
            boxes.append(Detection(mask_box(hits.mask.reshape(shape)), "potato", 0.9))
        return image, boxes

    def depth(self, cam_T_obj: np.ndarray) -> np.ndarray:
        """Depth (H, W) of one object in object units, NaN where it is not."""
        hits = self._caster.render(self.camera, cam_T_obj)
        depth = np.full(self.camera.height * self.camera.width, np.nan)
        depth[hits.mask] = transform(cam_T_obj, self._caster.points(hits)[hits.mask])[:, 2]
        return depth.reshape(self.camera.height, self.camera.width)

    def frame(self, *poses: np.ndarray) -> tuple[Frame, list[Detection]]:
        image, boxes = self.paint(*poses)
        return Frame("test", self.camera, image), boxes
