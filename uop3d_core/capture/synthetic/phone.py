"""Made-up phone videos with exact answers: a mug on a table, filmed by a hand that shakes, as a compressed file.

In: a seed. Out: an MP4 file and the camera of every frame. Frame of the answers: canonical, as of the captures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter1d

from uop3d_core.capture.synthetic.orbit import look_at
from uop3d_core.capture.synthetic.render import Renderer
from uop3d_core.capture.synthetic.scene import random_scene
from uop3d_core.capture.synthetic.texture import noise_tile, random_glaze
from uop3d_core.geometry import Array
from uop3d_core.progress import Progress, silent
from uop3d_core.types import Camera, Mesh

WANDER_S, TREMOR_S = 0.7, 0.06
"""How fast a hand drifts and trembles."""
MOMENTS = 240
"""Steps of the camera's path per second."""
CLOTH, CLOTH_PIXELS = 9.0, 1536
"""Side of the printed cloth, in diameters of the mug and in pixels; nothing on it repeats."""


@dataclass(frozen=True, eq=False)
class Film:
    """What is true of a video.

    Attributes:
        camera: of all frames.
        cam_T_obj: (N, 4, 4) at the middle of each frame's exposure.
        times_s: (N,) of the frames.
        masks: (N, H, W) bool of the mug at those times.
        mesh: of the mug.
    """

    camera: Camera
    cam_T_obj: Array
    times_s: Array
    masks: Array
    mesh: Mesh


@dataclass(frozen=True)
class Filming:
    """How a video is taken.

    Attributes:
        seconds: length.
        rate: frames per second.
        width, height: in pixels.
        turns: times around the mug.
        exposure_s: how long the shutter is open.
        samples: pictures averaged per frame, for the blur of motion.
        shake: amplitude of the hand's motion; 1 is usual.
        clutter: whether other things stand on the table.
        printed: whether there is a printed cloth on it, or the table's own top, which may show next to nothing.
        codec: four letters.
    """

    seconds: float = 20.0
    rate: float = 8.0
    width: int = 640
    height: int = 360
    turns: float = 1.6
    exposure_s: float = 0.02
    samples: int = 2
    shake: float = 1.0
    clutter: bool = True
    printed: bool = True
    codec: str = "mp4v"


def film_mug(path: Path, seed: int | tuple[int, ...], filming: Filming, progress: Progress = silent) -> Film:
    """Film one random mug to an MP4 file.

    Raises:
        ValueError: the file cannot be written with this codec.
    """
    rng = np.random.default_rng(seed)
    scene = random_scene(rng, filming.clutter)
    if filming.printed:
        cloth = _printed_cloth(rng)
        scene = replace(scene, table=replace(scene.table, tile=cloth, tile_size=CLOTH, gloss=0.0))
    camera = _camera(rng, filming)
    renderer = Renderer(scene, camera)
    light, noise = rng.uniform(0.85, 1.2), rng.uniform(0.5, 3.0)
    count = round(filming.seconds * filming.rate)
    path_T = _walk(rng, camera, round(filming.seconds * MOMENTS), filming)
    size = (filming.width, filming.height)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*filming.codec), filming.rate, size)
    if not writer.isOpened():
        raise ValueError(f"{path}: a video with codec {filming.codec!r} cannot be written here; choose another one")
    masks, middle = [], []
    flicker = 1 + 0.03 * gaussian_filter1d(rng.standard_normal(count), filming.rate / 2, mode="nearest")
    for index in range(count):
        moments = _moments(index, filming, len(path_T))
        shots = [renderer.picture(path_T[m], light * flicker[index], noise, rng) for m in moments]
        linear = np.mean([(image / 255.0) ** 2.2 for image, _ in shots], axis=0)
        writer.write(np.round(255 * linear ** (1 / 2.2)).astype(np.uint8)[..., ::-1])
        masks.append(shots[len(shots) // 2][1])
        middle.append(path_T[moments[len(moments) // 2]])
        progress("film", index + 1, count)
    writer.release()
    return Film(camera, np.array(middle), np.arange(count) / filming.rate, np.array(masks), scene.mug.mesh)


def _moments(index: int, filming: Filming, steps: int) -> list[int]:
    """Steps of the path at which the light of a frame is sampled."""
    times = index / filming.rate + filming.exposure_s * (np.arange(filming.samples) / filming.samples)
    return [min(steps - 1, round(time * MOMENTS)) for time in times]


def _printed_cloth(rng: np.random.Generator) -> Array:
    """(CLOTH_PIXELS, CLOTH_PIXELS, 3) linear colours: words, discs and boxes on a woven ground."""
    size = CLOTH_PIXELS
    tile = np.empty((size, size, 3), np.uint8)
    tile[:] = 255 * random_glaze(rng)
    for _ in range(900):
        x, y = (int(v) for v in rng.integers(0, size, 2))
        extent = int(rng.uniform(0.03, 0.22) * size / CLOTH)
        colour = tuple(float(c) for c in 255 * random_glaze(rng))
        kind = rng.integers(0, 3)
        if kind == 0:
            cv2.circle(tile, (x, y), extent // 2 + 1, colour, -1, cv2.LINE_AA)
        elif kind == 1:
            box = cv2.boxPoints(((x, y), (extent, extent * float(rng.uniform(0.3, 1))), float(rng.uniform(0, 180))))
            cv2.fillPoly(tile, [box.astype(np.int32)], colour, cv2.LINE_AA)
        else:
            word = "".join(chr(c) for c in rng.integers(ord("a"), ord("z") + 1, 6))
            cv2.putText(tile, word, (x, y), cv2.FONT_HERSHEY_DUPLEX, extent / 40, colour, 2)
    return np.clip(tile / 255 * (0.7 + 0.6 * noise_tile(size, 7, rng, roughness=0.9)[..., None]), 0, 0.9)


def _camera(rng: np.random.Generator, filming: Filming) -> Camera:
    """A phone's: focal length 0.75-0.9 of the longer side."""
    focal = max(filming.width, filming.height) * rng.uniform(0.75, 0.9)
    K = np.array([[focal, 0, (filming.width - 1) / 2], [0, focal, (filming.height - 1) / 2], [0, 0, 1]])
    return Camera(K, filming.width, filming.height)


def _walk(rng: np.random.Generator, camera: Camera, steps: int, filming: Filming) -> Array:
    """cam_T_obj (steps, 4, 4): around the mug, rising on the way, with the motions of a hand."""
    rate = steps / filming.seconds
    time = np.linspace(0, 1, steps)
    pace = np.cumsum(np.exp(0.25 * _wander(rng, steps, 1.5 * rate)))
    azimuth = rng.uniform(0, 2 * np.pi) + rng.choice([-1, 1]) * 2 * np.pi * filming.turns * pace / pace[-1]
    low, high = np.radians(rng.uniform(16, 24)), np.radians(rng.uniform(42, 55))
    elevation = low + (high - low) / (1 + np.exp(-10 * (time - 0.55)))
    shake = [_hand(rng, steps, rate, filming.shake) for _ in range(6)]
    fits = camera.K[0, 0] / min(camera.width, camera.height)
    distance = fits / rng.uniform(0.42, 0.55) * (1 + 0.03 * shake[0])
    elevation = elevation + 0.02 * shake[1]
    eye = distance[:, None] * np.stack(
        [np.cos(elevation) * np.cos(azimuth), np.cos(elevation) * np.sin(azimuth), np.sin(elevation)], axis=1
    )
    return look_at(eye, 0.04 * np.stack(shake[2:5], axis=1), np.radians(1.5) * shake[5])


def _hand(rng: np.random.Generator, steps: int, rate: float, strength: float) -> Array:
    """A drift and a tremor (steps,) of about unit size."""
    return strength * (_wander(rng, steps, WANDER_S * rate) + 0.12 * _wander(rng, steps, TREMOR_S * rate))


def _wander(rng: np.random.Generator, steps: int, width: float) -> Array:
    """A smooth random value (steps,) of unit deviation."""
    values = gaussian_filter1d(rng.standard_normal(steps + int(8 * width)), width)[int(4 * width) :][:steps]
    return values / max(float(values.std()), 1e-9)
