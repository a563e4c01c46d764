"""Recordings on disk with random cameras, images and masks, for tests of what reads and writes them."""

from pathlib import Path

import numpy as np
from PIL import Image

from uop3d_core.capture.recordings import Recording, Shot
from uop3d_core.geometry import random_rotations, rigid
from uop3d_core.types import Camera

WIDTH, HEIGHT = 48, 40
LENSES = {
    "pinhole": ("pinhole", []),
    "brown4": ("brown", [-0.1, 0.02, 0.001, -0.002]),
    "brown5": ("brown", [-0.1, 0.02, 0.001, -0.002, 0.003]),
    "brown8": ("brown", [-0.1, 0.02, 0.001, -0.002, 0.003, 0.01, 0.02, -0.004]),
    "fisheye": ("fisheye", [0.05, -0.01, 0.002, 0.001]),
}


def make_recording(folder: Path, lenses=("pinhole",) * 3, masks: bool = True, points: int = 7) -> Recording:
    """Files under `folder`, one frame per lens, every camera another one."""
    rng = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    shots = []
    for index, (lens, R) in enumerate(zip(lenses, random_rotations(len(lenses), rng), strict=True)):
        image, mask = folder / "images" / f"f{index}.jpg", folder / "masks" / f"f{index}.png"
        Image.fromarray(rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)).save(image)
        if masks:
            Image.fromarray((rng.random((HEIGHT, WIDTH)) < 0.5).astype(np.uint8) * 255).save(mask)
        K = np.array([[50 + index, 0, 23.123456789], [0, 51.5, 19.5], [0, 0, 1]])
        camera = Camera(K, WIDTH, HEIGHT, LENSES[lens][0], np.array(LENSES[lens][1]))
        shots.append(Shot(f"f{index}", image, camera, rigid(R, rng.normal(size=3)), mask if masks else None))
    return Recording("cup_01", tuple(shots), rng.normal(size=(points, 3)) if points else None)


def assert_same(new: Recording, old: Recording, lenses: bool = True) -> None:
    """Cameras to rounding, images and masks bit for bit."""
    assert [shot.name for shot in new.shots] == [shot.name for shot in old.shots]
    for a, b in zip(new.shots, old.shots, strict=True):
        np.testing.assert_allclose(a.camera.K, b.camera.K, atol=1e-9)
        np.testing.assert_allclose(a.cam_T_world, b.cam_T_world, atol=1e-9)
        assert (a.camera.width, a.camera.height) == (b.camera.width, b.camera.height)
        if lenses:
            assert a.camera.lens == b.camera.lens
            size = max(len(a.camera.distortion), len(b.camera.distortion))
            padded = [np.pad(c.distortion, (0, size - len(c.distortion))) for c in (a.camera, b.camera)]
            np.testing.assert_allclose(*padded, atol=1e-12)
        assert a.image.read_bytes() == b.image.read_bytes()
        assert (a.mask is None) == (b.mask is None)
        if a.mask is not None and b.mask is not None:
            assert a.mask.read_bytes() == b.mask.read_bytes()
    if old.points is None:
        assert new.points is None
    else:
        np.testing.assert_allclose(new.points, old.points, atol=1e-6)
