"""How well a pose explains what the network says of every pixel of the crop."""

from __future__ import annotations

import numpy as np

from uop3d_core.geometry import Array
from uop3d_core.pose.candidates import PixelBeliefs
from uop3d_core.raycast import RayCaster


def agreement(beliefs: PixelBeliefs, template: RayCaster, near: Array, K: Array, cam_T_obj: Array) -> float:
    """Mean probability in [0, 1] that pixels show what the posed template predicts there.

    Taken over the pixels that either the network or the template holds for object; where the template predicts a
    vertex, its neighbourhood counts; where it predicts nothing, clutter counts.

    Args:
        beliefs: of one crop.
        template: ray caster of the template, obj.
        near: (V, V) bool, which vertices lie within the neighbourhood of each other.
        K: (3, 3) of the full image.
        cam_T_obj: (4, 4) pose to judge.
    """
    hits = template.first_hits_of_pixels(K, beliefs.pixels, cam_T_obj)
    concerned = hits.mask | (beliefs.foreground > 0.5)
    if not hits.mask.any():
        return 0.0
    support = beliefs.probabilities[:, -1].copy()
    shown = np.flatnonzero(hits.mask)
    vertex = template.mesh.faces[hits.face[shown], hits.barycentric[shown].argmax(1)]
    support[shown] = (beliefs.probabilities[shown, :-1] * near[vertex]).sum(1)
    return float(support[concerned].mean())
