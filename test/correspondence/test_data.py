"""Training crops: labels are where the posed template says, hidden pixels are clutter, everything is repeatable."""

import cv2
import numpy as np
import pytest
from scenes import film, normal_image, potato

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.data import IGNORE, SampleMaker
from uop3d_core.correspondence.views import posed_views
from uop3d_core.crops import Crop
from uop3d_core.geometry import project, transform
from uop3d_core.images import mask_box
from uop3d_core.types import Alignment, CaptureAlignment, Sim3, Template

PLAIN = TrainSettings(
    cells=12,
    variants=3,
    shift=0,
    zoom=0,
    roll_deg=0,
    synthesis=0,
    occlusion=0,
    texture=0,
    background=0,
    colour=0,
    damage=0,
)
STRIDE = 8


@pytest.fixture(scope="module")
def scene() -> dict:
    mesh = potato()
    unit = 1 / mesh.diameter
    obj_T_world = Sim3(unit, np.eye(3), -unit * (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2)
    capture = film(mesh, views=6, paint=normal_image(mesh))
    alignment = Alignment("potato", capture.name, {capture.name: CaptureAlignment(obj_T_world, 1.0, True)})
    template = Template("potato", mesh.transformed(obj_T_world))
    return {"views": posed_views([capture], {capture.name: mesh}, alignment), "template": template}


def maker(scene: dict, settings: TrainSettings) -> SampleMaker:
    return SampleMaker(scene["views"], scene["template"], STRIDE, settings)


def test_labelled_vertices_project_near_their_pixel(scene: dict) -> None:
    made = maker(scene, PLAIN)
    labels = next(made.variants(0)).labels
    view, vertices = scene["views"][0], scene["template"].mesh.vertices
    ys, xs = np.nonzero((labels >= 0) & (labels < len(vertices)))
    uv = project(view.frame.camera.K, transform(view.cam_T_obj, vertices[labels[ys, xs]]))
    crop = Crop.around(view.frame.camera, mask_box(view.frame.mask), made.pixels, PLAIN.margin)
    cell = (crop.to_crop(uv) + 0.5) / made.pixels * made.grid - 0.5
    error = np.linalg.norm(cell - np.stack([xs, ys], -1), axis=1)
    assert np.median(error) < 1.0
    assert np.abs((cell - np.stack([xs, ys], -1)).mean(0)).max() < 0.15  # no shift of half a cell


def test_labels_split_object_and_clutter_like_the_mask(scene: dict) -> None:
    made = maker(scene, PLAIN)
    sample = next(made.variants(0))
    V = len(scene["template"].mesh.vertices)
    assert (sample.labels == V).any() and ((sample.labels >= 0) & (sample.labels < V)).mean() > 0.15
    assert (sample.labels == IGNORE).mean() < 0.05
    assert sample.labels[0, 0] == V


def test_same_seed_same_crops_whatever_was_drawn_before(scene: dict) -> None:
    settings = TrainSettings(cells=12, variants=3)
    first = list(maker(scene, settings).variants(2))
    other = maker(scene, settings)
    list(other.variants(0))
    again = list(other.variants(2))
    for a, b in zip(first, again, strict=True):
        assert np.array_equal(a.image, b.image) and np.array_equal(a.labels, b.labels)
    changed = next(maker(scene, settings.model_copy(update={"seed": 1})).variants(2))
    assert not np.array_equal(first[0].image, changed.image)


def test_occluded_pixels_become_clutter(scene: dict) -> None:
    V = len(scene["template"].mesh.vertices)
    free = next(maker(scene, PLAIN).variants(1)).labels
    settings = PLAIN.model_copy(update={"occlusion": 1.0})
    covered = [sample.labels for sample in maker(scene, settings).variants(1)]
    lost = [((free < V) & (free >= 0) & (labels == V)).sum() for labels in covered]
    assert min(lost) > 0
    for labels in covered:
        kept = (labels >= 0) & (labels < V)
        assert np.array_equal(labels[kept], free[kept])


def test_degraded_crops_lose_detail_and_show_the_same(scene: dict) -> None:
    clear = list(maker(scene, PLAIN).variants(1))
    degraded = list(maker(scene, PLAIN.model_copy(update={"damage": 1.0})).variants(1))
    assert not np.array_equal(degraded[0].image, degraded[1].image)
    for before, after in zip(clear, degraded, strict=True):
        assert np.array_equal(before.labels, after.labels) and np.array_equal(before.poses, after.poses)
        seen, left = (cv2.resize(sample.image, (6, 6), interpolation=cv2.INTER_AREA) for sample in (before, after))
        assert not np.array_equal(before.image, after.image)
        assert np.corrcoef(seen.ravel(), left.ravel())[0, 1] > 0.9


def test_pixels_that_only_the_instance_covers_get_the_nearest_template_vertex(scene: dict) -> None:
    template = scene["template"]
    small = Template("potato", template.mesh.transformed(Sim3(0.8, np.eye(3), np.zeros(3))))
    made = SampleMaker(scene["views"], small, STRIDE, PLAIN)
    labels = next(made.variants(0)).labels
    V = len(small.mesh.vertices)
    full = next(maker(scene, PLAIN).variants(0)).labels
    object_pixels = (full >= 0) & (full < V)
    assert ((labels >= 0) & (labels < V))[object_pixels].mean() > 0.98


def test_rejected_captures_are_not_used(scene: dict) -> None:
    mesh = potato()
    capture = film(mesh, views=3, paint=normal_image(mesh))
    alignment = Alignment("p", capture.name, {capture.name: CaptureAlignment(Sim3.identity(), 0.1, False, "no")})
    assert posed_views([capture], {capture.name: mesh}, alignment) == []
