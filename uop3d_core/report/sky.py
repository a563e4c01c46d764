"""From where an object was seen, as a map: all directions around it in one disc, as SVG.

In: azimuth and elevation, degrees, in obj. Out: an SVG element. The object is looked at from above, its front up and
its left on the left; the middle is straight above it, the inner circle level with it, the rim straight below. Areas are
true.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from uop3d_core.geometry import Array

RADIUS, EDGE = 100.0, 124.0
NEAR_DEG = 20.0
LEVEL = float(np.sqrt(0.5))
"""Radius of the level directions, of that of the disc."""
NAMES = {"front": (0, -108, "middle"), "back": (0, 120, "middle"), "left": (-106, 5, "end"), "right": (106, 5, "start")}
CROSS, DOT = "m-3-3l6 6m0-6l-6 6", "h0"


def places(directions_deg: Array) -> Array:
    """(N, 2) places on the disc of unit radius, y down, of (N, 2) azimuth and elevation (Lambert's equal-area map)."""
    azimuth, elevation = np.deg2rad(np.asarray(directions_deg, dtype=np.float64).reshape(-1, 2).T)
    radius = np.sqrt((1 - np.sin(elevation)) / 2)
    return np.stack([-np.sin(azimuth) * radius, -np.cos(azimuth) * radius], axis=1)


def sky(groups: Mapping[str, Sequence[tuple[float, float]] | Array], alt: str, small: bool = False) -> str:
    """A map with a dot per direction, each group in its style; those of style "p3" are crosses."""
    parts = [f'<circle class="frame" r="{RADIUS:g}"/><circle class="grid" r="{LEVEL * RADIUS:.1f}"/>']
    parts.append(f'<path class="grid" d="M0-{RADIUS:g}v{2 * RADIUS:g}M-{RADIUS:g} 0h{2 * RADIUS:g}"/>')
    for style, directions in groups.items():
        if len(directions):
            mark = CROSS if style == "p3" else DOT
            path = "".join(f"M{x:.1f} {y:.1f}{mark}" for x, y in RADIUS * places(np.asarray(directions)))
            parts.append(f'<path class="seen {style}" d="{path}"/>')
    if not small:
        for text, (x, y, anchor) in NAMES.items():
            parts.append(f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>')
    across = (RADIUS + 4) if small else EDGE + 24
    down = (RADIUS + 4) if small else EDGE
    box = f"{-across:g} {-down:g} {2 * across:g} {2 * down:g}"
    kind = "sky small" if small else "sky"
    return f'<svg class="{kind}" viewBox="{box}" role="img" aria-label="{escape(alt)}">{"".join(parts)}</svg>'


def share_seen(directions_deg: Array, lowest_deg: float = 0.0) -> float:
    """The share of the directions from `lowest_deg` upwards that have one of these within NEAR_DEG of them."""
    height = np.linspace(np.sin(np.deg2rad(lowest_deg)), 1, 202)[1:-1]
    every = np.stack([np.arange(len(height)) * 137.508 % 360, np.rad2deg(np.arcsin(height))], axis=1)
    if not len(directions_deg):
        return 0.0
    return float(((_units(every) @ _units(directions_deg).T).max(1) > np.cos(np.deg2rad(NEAR_DEG))).mean())


def _units(directions_deg: Array) -> Array:
    azimuth, elevation = np.deg2rad(np.asarray(directions_deg, dtype=np.float64).reshape(-1, 2).T)
    flat = np.cos(elevation)
    return np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), np.sin(elevation)], axis=1)
