"""Several categories in one call: labels choose, without one the most probable wins, shared features are made once."""

from dataclasses import replace

import numpy as np
import pytest
from scenes import potato
from truthful import CAM_T_OBJ, CAMERA, TruthfulBackbone, TruthfulNetwork, coordinates_painted

from uop3d_core.config import TrainSettings
from uop3d_core.correspondence.checkpoint import Model
from uop3d_core.geometry import rotation_error
from uop3d_core.images import mask_box
from uop3d_core.pose.categories import CategoryEstimator
from uop3d_core.pose.estimator import PoseEstimator
from uop3d_core.types import Detection, Frame, Mesh, Template


class CountingBackbone(TruthfulBackbone):
    """Counts the crops that it sees."""

    def __init__(self) -> None:
        self.crops = 0

    def __call__(self, images):  # type: ignore[no-untyped-def]
        self.crops += len(images)
        return super().__call__(images)


def one(category: str, mesh: Mesh, backbone: TruthfulBackbone, cells: int = 24) -> PoseEstimator:
    about = {"backbone": {"fingerprint": "truth", "licence": "none", "channels": 3}}
    model = Model("truth", Template(category, mesh), TrainSettings(cells=cells), TruthfulNetwork(mesh), about)
    return PoseEstimator(model, backbone)


@pytest.fixture(scope="module")
def meshes() -> tuple[Mesh, Mesh]:
    """The potato, and one stretched, whose network reads other coordinates out of the same colours."""
    mesh = potato()
    centre = (mesh.vertices.min(0) + mesh.vertices.max(0)) / 2
    vertices = (mesh.vertices - centre) / mesh.diameter
    other = vertices[:, [1, 2, 0]] * [0.5, 1.2, 0.6] + [0.2, -0.1, 0.15]
    return Mesh(vertices, mesh.faces), Mesh(other, mesh.faces)


@pytest.fixture(scope="module")
def image(meshes: tuple[Mesh, Mesh]) -> tuple[Frame, np.ndarray]:
    pixels, mask = coordinates_painted(meshes[0], CAMERA, CAM_T_OBJ)
    return Frame("f", CAMERA, pixels), mask_box(mask)


def test_labels_choose_the_category(meshes: tuple[Mesh, Mesh], image: tuple[Frame, np.ndarray]) -> None:
    backbone = CountingBackbone()
    several = CategoryEstimator([one("potato", meshes[0], backbone), one("stone", meshes[1], backbone)])
    frame, box = image
    boxes = [Detection(box, "stone"), Detection(box, "potato"), Detection(box, "shoe")]
    stone, mug, shoe = several(frame, boxes)
    assert (stone.category, mug.category, shoe.category) == ("stone", "potato", "")
    assert np.rad2deg(rotation_error(mug.cam_T_obj[:3, :3], CAM_T_OBJ[:3, :3])) < 2
    assert not shoe.found and shoe.other == 1 and shoe.score == 0
    assert [e.detection for e in (stone, mug, shoe)] == boxes
    assert backbone.crops == 2


def test_without_labels_the_most_probable_category_wins(meshes, image) -> None:  # type: ignore[no-untyped-def]
    backbone = CountingBackbone()
    several = CategoryEstimator([one("stone", meshes[1], backbone), one("potato", meshes[0], backbone)])
    frame, box = image
    found = several(frame, [Detection(box)] * 10)
    assert [estimate.category for estimate in found] == ["potato"] * 10
    assert backbone.crops == 10  # one pass for both categories


def test_other_crops_are_not_shared(meshes, image) -> None:  # type: ignore[no-untyped-def]
    backbone = CountingBackbone()
    several = CategoryEstimator([one("stone", meshes[1], backbone, 16), one("potato", meshes[0], backbone)])
    several(image[0], [Detection(image[1])])
    assert backbone.crops == 2


def test_it_says_what_a_single_estimator_says(meshes, image) -> None:  # type: ignore[no-untyped-def]
    single = one("potato", meshes[0], TruthfulBackbone())
    [alone] = single(image[0], [Detection(image[1], "potato")])
    [together] = CategoryEstimator([single])(image[0], [Detection(image[1], "potato")])
    assert np.array_equal(alone.cam_T_obj, together.cam_T_obj) and alone.score == together.score


def test_no_detections_and_impossible_sets(meshes, image) -> None:  # type: ignore[no-untyped-def]
    single = one("potato", meshes[0], TruthfulBackbone())
    broken = replace(image[0], image_source=lambda: 1 / 0)
    assert CategoryEstimator([single])(broken, []) == []
    with pytest.raises(ValueError, match="one model per category"):
        CategoryEstimator([single, single])
    with pytest.raises(ValueError, match="none"):
        CategoryEstimator([])
