"""A film of an object that a network reads without error, and the stream of that network."""

from functools import lru_cache

import numpy as np
from scenes import look_at, potato
from truthful import TruthfulBackbone, TruthfulNetwork, coordinates_painted

from uop3d_core.capture.synthetic.film import START_NS, Film, Shot
from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.pose.categories import CategoryEstimator
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.pose.stream import PoseStream
from uop3d_core.raycast import RayCaster
from uop3d_core.stopwatch import Stopwatch
from uop3d_core.types import Camera, Mesh, Template

CATEGORY, UNIT_M, STEP_NS = "potato", 0.2, 100_000_000
CAMERA = Camera(np.array([[220.0, 0, 79.5], [0, 220.0, 59.5], [0, 0, 1]]), 160, 120)


@lru_cache
def unit_potato() -> Mesh:
    mesh = potato()
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    return Mesh((mesh.vertices - centre) / mesh.diameter, mesh.faces)


@lru_cache
def painted_film(shots: int = 5) -> Film:
    """A camera that moves past one object; `fixed` is the object's frame in metres."""
    film, caster = [], RayCaster(unit_potato())
    for index in range(shots):
        angle = 0.5 + 0.05 * index
        cam_T_obj = look_at([1.9 * np.cos(angle), 1.9 * np.sin(angle), 0.8])
        image, mask = coordinates_painted(unit_potato(), CAMERA, cam_T_obj)
        metric = cam_T_obj.copy()
        metric[:3, 3] *= UNIT_M
        depth = UNIT_M * caster.render(CAMERA, cam_T_obj).t.reshape(CAMERA.height, CAMERA.width)
        depth = np.where(np.isfinite(depth), depth, np.nan).astype(np.float32)
        film.append(Shot(START_NS + index * STEP_NS, image, mask[None], depth, metric, metric[None]))
    return Film(CAMERA, UNIT_M, tuple(film))


def truthful_stream(**options) -> PoseStream:
    about = {"backbone": {"fingerprint": "truth", "licence": "none", "channels": 3}}
    mesh = unit_potato()
    model = Model("truth", Template(CATEGORY, mesh), TrainSettings(), TruthfulNetwork(mesh), about)
    watch = Stopwatch()
    estimator = CategoryEstimator([PoseEstimator(model, TruthfulBackbone(), watch=watch)], watch)
    return PoseStream(estimator, watch=watch, **options)
