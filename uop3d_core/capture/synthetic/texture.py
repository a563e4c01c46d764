"""Random looks: glazes, patterns and prints of mugs, and tiles for tables and boxes.

In: a random generator; then surface points. Out: colours (N, 3), float, linear light in [0, 1].
Surface coordinates of a mug: `angle` about its axis (0 = handle) and `level` (0 = bottom, 1 = rim).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from uop3d_core.capture.synthetic.mug import Mug, Part
from uop3d_core.geometry import Array

GLAZES = {
    "white": (240, 238, 232),
    "cream": (232, 220, 192),
    "grey": (170, 172, 172),
    "charcoal": (58, 60, 64),
    "navy": (38, 54, 98),
    "sky": (120, 172, 208),
    "teal": (36, 122, 122),
    "sage": (140, 164, 126),
    "green": (48, 100, 62),
    "mustard": (214, 166, 50),
    "terracotta": (184, 92, 58),
    "red": (176, 36, 40),
    "rose": (216, 150, 152),
    "plum": (100, 50, 84),
    "brown": (98, 68, 48),
}
"""8-bit sRGB colours of ceramic glazes."""
WORDS = ("TEA", "CAFE", "MOKA", "JAVA", "HELLO", "No.1", "MOM", "DAD", "BOSS", "2024", "YES", "ZEN", "LATTE", "OK")
PRINT_PIXELS = 128
Pattern = Callable[[Array, Array], Array]
"""From angle and level (N,) to whether the second colour shows there (N,), as bool or a share in [0, 1]."""


def linear(rgb8: tuple[int, ...] | Array) -> Array:
    """8-bit sRGB (..., 3) to linear light in [0, 1], with the plain 2.2 power."""
    return (np.asarray(rgb8, dtype=np.float64) / 255) ** 2.2


def random_glaze(rng: np.random.Generator, other_than: Array | None = None) -> Array:
    """A glaze colour (3,), varied a little; clearly lighter or of another hue than `other_than`."""
    while True:
        colour = np.clip(linear(GLAZES[rng.choice(list(GLAZES))]) * rng.uniform(0.8, 1.15, 3), 0.01, 0.95)
        if other_than is None or np.abs(colour ** (1 / 2.2) - other_than ** (1 / 2.2)).max() > 0.25:
            return colour


def noise_tile(
    pixels: int, octaves: int, rng: np.random.Generator, stretch: float = 1.0, roughness: float = 0.6
) -> Array:
    """Cloudy noise (pixels, pixels), float32 in [0, 1], that tiles.

    Args:
        pixels: side of the tile.
        octaves: layers; each is twice as fine as the one before.
        rng: the random generator.
        stretch: how much the noise is drawn out along the second axis.
        roughness: strength of each layer relative to the one before.
    """
    power = np.zeros((pixels, pixels // 2 + 1))
    across, along = np.fft.fftfreq(pixels)[:, None] / stretch, np.fft.rfftfreq(pixels)[None] * stretch
    for octave in range(octaves):
        layer = np.exp(-((2 * np.pi * pixels / 8 / 2**octave) ** 2) * (across**2 + along**2))
        power += roughness ** (2 * octave) * layer / layer.sum()
    power[0, 0] = 0
    noise = np.fft.irfft2(np.sqrt(power) * np.fft.rfft2(rng.standard_normal((pixels, pixels))), s=(pixels, pixels))
    return np.clip(0.5 + noise / noise.std() / 5, 0, 1).astype(np.float32)


def sample_tile(tile: Array, u: Array, v: Array) -> Array:
    """Bilinear values, float32, of a tile (S, S) or (S, S, C) that repeats, at (N,) coordinates in tiles."""
    size, row = tile.shape[0], 1024
    padding = -len(u) % row
    x, y = (
        np.pad((value - np.floor(value)) * size, (0, padding)).astype(np.float32).reshape(-1, row) for value in (u, v)
    )
    if x.size == 0:
        return np.zeros((0, *tile.shape[2:]), dtype=np.float32)
    values = cv2.remap(tile.astype(np.float32, copy=False), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    return values.reshape(-1, *tile.shape[2:])[: len(u)]


@dataclass(frozen=True, eq=False)
class Print:
    """A logo-like picture on the outside of a mug.

    Attributes:
        pixels: (PRINT_PIXELS, PRINT_PIXELS, 4) linear colour and opacity.
        angle, level: where its centre is.
        size: its side, in units of the mug's height.
    """

    pixels: Array
    angle: float
    level: float
    size: float

    def over(self, colour: Array, angle: Array, level: Array, circumference: float) -> Array:
        """Lay the print over (N, 3) colours; `circumference` is in units of the mug's height."""
        across = ((angle - self.angle + np.pi) % (2 * np.pi) - np.pi) / (2 * np.pi) * circumference / self.size
        down = (self.level - level) / self.size
        inside = (np.abs(across) < 0.49) & (np.abs(down) < 0.49)
        rgba = sample_tile(self.pixels, across[inside] + 0.5, down[inside] + 0.5)
        colour = colour.copy()
        colour[inside] += rgba[:, 3:] * (rgba[:, :3] - colour[inside])
        return colour


@dataclass(frozen=True, eq=False)
class MugTexture:
    """The looks of one mug; colours (3,) are linear.

    Attributes:
        base, second: colours of the outside.
        inside, rim, handle: colours of these parts.
        pattern: where the second colour shows.
        rim_level: the rim's colour begins at this level of the outside (1 = at the edge).
        prints: pictures on the outside.
        speckles: tile (S, S) of values in [0, 1], 1 = untouched glaze.
    """

    base: Array
    second: Array
    inside: Array
    rim: Array
    handle: Array
    pattern: Pattern
    rim_level: float
    prints: tuple[Print, ...]
    speckles: Array

    def colours(self, mug: Mug, points: Array, parts: Array) -> Array:
        """Colours (N, 3) of (N, 3) points of the mug in the canonical frame, with their (N,) Part."""
        angle = np.arctan2(points[:, 1], points[:, 0] - mug.axis_x)
        level = (points[:, 2] - mug.z_bottom) / mug.height
        share = np.asarray(self.pattern(angle, level), dtype=np.float64)[:, None]
        colour = self.base + share * (self.second - self.base)
        circumference = 2 * np.pi * mug.radius / mug.height
        for picture in self.prints:
            colour = picture.over(colour, angle, level, circumference)
        at_rim = (parts == Part.RIM) | ((parts == Part.OUTSIDE) & (level > self.rim_level))
        colour[parts == Part.INSIDE] = self.inside
        colour[at_rim] = self.rim
        colour[parts == Part.HANDLE] = self.handle
        speckles = sample_tile(self.speckles, angle / np.pi + 0.1 * (parts == Part.HANDLE), level)
        return colour * speckles[:, None]


def random_texture(rng: np.random.Generator, slimness: float) -> MugTexture:
    """Looks that tell something of the pose, but differently from mug to mug.

    Prints mostly sit to the left or right of the handle, as a hand would show them; rim and handle often share an
    accent colour; patterns are blind to the handle.

    Args:
        rng: the random generator.
        slimness: height of the mug by its circumference.
    """
    base = random_glaze(rng)
    second, accent = random_glaze(rng, base), random_glaze(rng, base)
    name = rng.choice(list(PATTERNS), p=[0.3, 0.15, 0.1, 0.1, 0.12, 0.15, 0.08])
    accented_handle, accented_rim = rng.random() < 0.45, rng.random() < 0.45
    dipped = name == "dip" and rng.random() < 0.5
    rim = second if dipped else accent if accented_rim else base
    return MugTexture(
        base=base,
        second=second,
        inside=[base, accent, linear(GLAZES["white"]) * rng.uniform(0.8, 1, 3)][rng.choice(3, p=[0.3, 0.2, 0.5])],
        rim=rim,
        handle=accent if accented_handle else base,
        pattern=PATTERNS[name](rng, slimness),
        rim_level=rng.uniform(0.9, 0.97) if accented_rim else 1.0,
        prints=_random_prints(rng, base, always=name == "plain"),
        speckles=_random_speckles(rng),
    )


def _random_prints(rng: np.random.Generator, base: Array, always: bool) -> tuple[Print, ...]:
    if not always and rng.random() < 0.5:
        return ()
    pixels = random_print(rng, base)
    angle = rng.choice([-np.pi / 2, np.pi / 2, np.pi], p=[0.42, 0.42, 0.16]) + rng.normal(0, 0.2)
    first = Print(pixels, float(angle), rng.uniform(0.45, 0.6), rng.uniform(0.4, 0.65))
    again = Print(pixels, -first.angle, first.level, first.size)
    return (first, again) if rng.random() < 0.3 and abs(abs(angle) - np.pi) > 1 else (first,)


def _random_speckles(rng: np.random.Generator) -> Array:
    """Fine unevenness of the glaze; on some mugs also dark specks as of stoneware."""
    tile = 1 - rng.uniform(0.05, 0.2) * noise_tile(256, 4, rng)
    if rng.random() < 0.3:
        specks = cv2.GaussianBlur(rng.standard_normal(tile.shape), (0, 0), rng.uniform(0.8, 1.6))
        tile = np.where(specks > np.quantile(specks, 0.985), 0.35 * tile, tile)
    return tile


def random_print(rng: np.random.Generator, background: Array) -> Array:
    """A picture (PRINT_PIXELS, PRINT_PIXELS, 4): a shape with or without a word, or a word alone."""
    ink = random_glaze(rng, background)
    paper = random_glaze(rng, ink)
    labels = np.zeros((PRINT_PIXELS, PRINT_PIXELS), dtype=np.uint8)
    name = rng.choice([*DRAWINGS, "word"])
    if name != "word":
        DRAWINGS[name](labels, rng)
    if name == "word" or (name in WRITABLE and rng.random() < 0.75):
        _write_word(labels, str(rng.choice(WORDS)), width=120 if name == "word" else 78, label=1 + (name != "word"))
    colours = np.stack([np.zeros(3), ink, paper])[labels]
    return np.dstack([colours, labels > 0]).astype(np.float32)


def _write_word(labels: Array, word: str, width: int, label: int) -> None:
    """Write a word across the middle, `width` pixels wide but not too high."""
    (natural, _), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, 1.0, 2)
    scale = min(width / natural, 1.8)
    thickness = 3 if scale < 1 else 5
    (across, up), _ = cv2.getTextSize(word, cv2.FONT_HERSHEY_DUPLEX, scale, thickness)
    corner = ((PRINT_PIXELS - across) // 2, (PRINT_PIXELS + up) // 2)
    cv2.putText(labels, word, corner, cv2.FONT_HERSHEY_DUPLEX, scale, label, thickness)


def _draw_badge(labels: Array, rng: np.random.Generator) -> None:
    half = (int(rng.integers(52, 62)), int(rng.integers(36, 60)))
    cv2.ellipse(labels, (64, 64), half, 0, 0, 360, 1, -1)
    cv2.ellipse(labels, (64, 64), (half[0] - 7, half[1] - 7), 0, 0, 360, 2, 3)


def _draw_label(labels: Array, rng: np.random.Generator) -> None:
    half = int(rng.integers(28, 56))
    cv2.rectangle(labels, (4, 64 - half), (123, 64 + half), 1, -1)
    for y in (64 - half + 7, 64 + half - 7):
        cv2.line(labels, (12, y), (115, y), 2, 3)


def _draw_star(labels: Array, rng: np.random.Generator) -> None:
    points = int(rng.integers(5, 14))
    angles = np.pi * np.arange(2 * points) / points - np.pi / 2
    radii = np.where(np.arange(2 * points) % 2 == 0, 60, rng.uniform(32, 50))
    corners = 64 + radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    cv2.fillPoly(labels, [np.round(corners).astype(np.int32)], 1)


def _draw_heart(labels: Array, rng: np.random.Generator) -> None:
    t = np.linspace(0, 2 * np.pi, 80)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    scale = rng.uniform(3.0, 3.6)
    cv2.fillPoly(labels, [np.round(64 + scale * np.stack([x, y], axis=1)).astype(np.int32)], 1)


def _draw_rings(labels: Array, rng: np.random.Generator) -> None:
    for index, radius in enumerate(range(58, 10, -int(rng.integers(9, 15)))):
        cv2.circle(labels, (64, 64), radius, 1 + index % 2, -1)


def _draw_mountains(labels: Array, rng: np.random.Generator) -> None:
    cv2.circle(labels, (int(rng.integers(30, 98)), 36), 16, 2, -1)
    for peak in (30, 64, 92):
        half = int(rng.integers(26, 44))
        corners = np.array([[peak - half, 108], [peak, 108 - int(1.6 * half)], [peak + half, 108]], dtype=np.int32)
        cv2.fillPoly(labels, [corners], 1)


def _draw_flower(labels: Array, rng: np.random.Generator) -> None:
    petals = int(rng.integers(5, 9))
    for angle in 2 * np.pi * np.arange(petals) / petals:
        centre = (round(64 + 36 * np.cos(angle)), round(64 + 36 * np.sin(angle)))
        cv2.ellipse(labels, centre, (24, 13), np.degrees(angle), 0, 360, 1, -1)
    cv2.circle(labels, (64, 64), 15, 2, -1)


DRAWINGS: dict[str, Callable[[Array, np.random.Generator], None]] = {
    "badge": _draw_badge,
    "label": _draw_label,
    "star": _draw_star,
    "heart": _draw_heart,
    "rings": _draw_rings,
    "mountains": _draw_mountains,
    "flower": _draw_flower,
}
"""Each draws 1 (ink) and 2 (paper) into a picture of zeros."""
WRITABLE = ("badge", "label", "star", "heart")
"""Drawings with room for a word."""


def _plain(rng: np.random.Generator, slimness: float) -> Pattern:
    return lambda angle, level: np.zeros(len(angle), dtype=bool)


def _rings(rng: np.random.Generator, slimness: float) -> Pattern:
    count, share, phase = rng.integers(4, 12), rng.uniform(0.2, 0.6), rng.random()
    low, high = rng.uniform(0, 0.5), rng.uniform(0.7, 1.0)
    return lambda angle, level: ((level * count + phase) % 1 < share) & (level > low) & (level < high)


def _stripes(rng: np.random.Generator, slimness: float) -> Pattern:
    count, share, phase, twist = rng.integers(6, 20), rng.uniform(0.25, 0.6), rng.random(), rng.choice([0, 0, 1.5])
    return lambda angle, level: (angle / (2 * np.pi) * count + phase + twist * level) % 1 < share


def _checks(rng: np.random.Generator, slimness: float) -> Pattern:
    around, low = 2 * rng.integers(5, 12), rng.choice([0.0, 0.5])
    up = max(2, round(around * slimness))
    return lambda angle, level: (
        ((np.floor(angle / (2 * np.pi) * around) + np.floor(level * up)) % 2 == 0) & (level > low)
    )


def _dots(rng: np.random.Generator, slimness: float) -> Pattern:
    around, radius = int(rng.integers(9, 20)), rng.uniform(0.22, 0.38)
    up = max(2, round(around * slimness))

    def pattern(angle: Array, level: Array) -> Array:
        row = np.floor(level * up)
        x, y = (angle / (2 * np.pi) * around + 0.5 * (row % 2)) % 1 - 0.5, level * up - row - 0.5
        return np.hypot(x, y) < radius

    return pattern


def _dip(rng: np.random.Generator, slimness: float) -> Pattern:
    middle, soft, upper = rng.uniform(0.3, 0.7), rng.choice([0.01, 0.1]), rng.random() < 0.5
    waves, height, phase = rng.integers(1, 6), rng.uniform(0, 0.06), rng.uniform(0, 2 * np.pi)

    def pattern(angle: Array, level: Array) -> Array:
        edge = middle + height * np.sin(waves * angle + phase) + 0.4 * height * np.sin(3 * waves * angle)
        share = np.clip((level - edge) / soft + 0.5, 0, 1)
        return share if upper else 1 - share

    return pattern


def _zigzag(rng: np.random.Generator, slimness: float) -> Pattern:
    count, bands, height = rng.integers(8, 18), rng.integers(2, 6), rng.uniform(0.05, 0.1)

    def pattern(angle: Array, level: Array) -> Array:
        wave = np.abs((angle / (2 * np.pi) * count) % 1 - 0.5) * 2 * height
        return ((level + wave) * bands % 1 < 0.35) & (level > 0.1)

    return pattern


PATTERNS: dict[str, Callable[[np.random.Generator, float], Pattern]] = {
    "plain": _plain,
    "rings": _rings,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
    "dip": _dip,
    "zigzag": _zigzag,
}
