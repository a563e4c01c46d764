"""What to put on a turntable: a template, a capture's surface, all captures in the common frame.

In: an aligned run, or a Template. Out: Pieces, meshes in obj.
"""

from __future__ import annotations

import logging

from uop3d_core.geometry import Array
from uop3d_core.pipeline.viewing import AlignedRun
from uop3d_core.progress import Progress, silent
from uop3d_core.report.colouring import PlaceColours, divided, photographed
from uop3d_core.report.turntables import Piece
from uop3d_core.types import Mesh, Template

logger = logging.getLogger(__name__)

COLOURS = ("clay", "place", "photo")
"""What colours mean: nothing, places on the template, what photographs show."""
TEMPLATE, ALL = "template", "all"
"""Names of what stands on the turntable; any other one is a capture."""


def template_piece(template: Template, colour: str = "clay", caption: str = "") -> Piece:
    """A template with its axes.

    Raises:
        ValueError: a colour that a template cannot have.
    """
    check_colour(colour)
    if colour == "photo":
        raise ValueError("a template was not photographed: take the colour clay or place")
    if colour == "clay":
        return Piece(template.mesh, axes=True, caption=caption)
    fine = divided(template.mesh, 4_000)
    return Piece(fine, PlaceColours(template)(fine.vertices), lit=False, axes=True, caption=caption)


def run_pieces(
    aligned: AlignedRun, what: str, colour: str | None = None, most: int = 20, progress: Progress = silent
) -> list[Piece]:
    """What stands on the turntable of a run.

    Args:
        aligned: the run.
        what: TEMPLATE, ALL or the name of a capture.
        colour: one of COLOURS; by default clay for the template and photo for captures.
        most: captures of ALL at most.
        progress: is told "surfaces".

    Raises:
        ValueError: unknown colour or capture.
        FileNotFoundError: the run no longer has the surface of a capture, or there are no photographs of it.
    """
    if what == TEMPLATE:
        return [template_piece(aligned.template, colour or "clay")]
    colour = check_colour(colour or "photo")
    if what != ALL:
        return [capture_piece(aligned, aligned.names([what])[0], colour)]
    names = aligned.names(most=most)
    pieces = [template_piece(aligned.template, "place" if colour == "place" else "clay", "template")]
    left_out = len(aligned.names()) - len(names)
    if left_out:
        logger.warning("%d captures are not shown: --captures sets how many are", left_out)
    for done, name in enumerate(names):
        progress("surfaces", done, len(names))
        pieces.append(capture_piece(aligned, name, colour))
    progress("surfaces", len(names), len(names))
    return pieces


def capture_piece(aligned: AlignedRun, name: str, colour: str) -> Piece:
    """The surface of a capture where the alignment puts it; errors as in `run_pieces`."""
    entry = aligned.entry(name)
    mesh, colours = coloured_surface(aligned, name, colour)
    caption = name if entry.accepted else f"{name}: rejected"
    return Piece(mesh, colours, colour == "clay", axes=False, caption=caption, warn=not entry.accepted)


def coloured_surface(aligned: AlignedRun, name: str, colour: str) -> tuple[Mesh, Array | None]:
    """A capture's surface in obj with colours (V, 3), 0-255, or None for clay; errors as in `run_pieces`."""
    mesh, obj_T_world = aligned.mesh(name), aligned.entry(name).obj_T_world
    if colour == "photo":
        fine, colours = photographed(mesh, aligned.capture(name))
        return fine.transformed(obj_T_world), colours
    if colour == "clay":
        return mesh.transformed(obj_T_world), None
    fine = divided(mesh.transformed(obj_T_world), 4_000)
    return fine, PlaceColours(aligned.template)(fine.vertices)


def check_colour(colour: str) -> str:
    """The colour; ValueError where there is none of this name."""
    if colour not in COLOURS:
        raise ValueError(f"unknown colour {colour!r}; known are {', '.join(COLOURS)}")
    return colour
