"""The report of a run as one HTML page, which needs neither a network nor another file.

In: `Content`. Out: text. Whatever comes from files is escaped, and the page's own policy forbids it to load anything.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from html import escape
from importlib.resources import files
from string import Template as Text

import fast_simplification
import numpy as np

from uop3d_core.report.content import Content
from uop3d_core.report.sections import (
    capture_cards,
    facts_table,
    pair_table,
    pose_section,
    settings_tables,
    summary,
    training_section,
    view_section,
)
from uop3d_core.types import Mesh

MAX_BYTES = 25_000_000
MAX_VERTICES = 3000
"""Meshes with more are simplified: the page shows dozens of them, small."""


def render(content: Content) -> str:
    """The whole page.

    Raises:
        ValueError: it would be larger than MAX_BYTES.
    """
    category = content.record.alignment.category
    sections = {
        "summary": ("In one look", summary(content)),
        "surfaces": ("Aligned surfaces", view_section(content)),
        "captures": ("Captures", capture_cards(content)),
        "pairs": ("Pairs", pair_table(content)),
        "training": ("Training", training_section(content)),
        **({"poses": ("Poses", pose_section(content.pose, content.model))} if content.pose else {}),
        "settings": ("Settings, versions, times", facts_table(content.facts) + settings_tables(content)),
    }
    page = Text(_file("page.html")).substitute(
        title=escape(f"{category}: report of uop3d"),
        heading=escape(f"What was learned of “{category}”"),
        links=" ".join(f'<a href="#{key}">{title}</a>' for key, (title, _) in sections.items()),
        sections="\n".join(_section(key, *part) for key, part in sections.items()),
        footer="Made by uop3d report. Frames, axes and units: docs/conventions.md; figures: docs/files.md.",
        scene=_scene(content),
        style=_file("page.css"),
        script=_file("page.js"),
    )
    size = len(page.encode())
    if size > MAX_BYTES:
        raise ValueError(f"the report would be {size / 1e6:.0f} MB large, more than {MAX_BYTES / 1e6:.0f} MB")
    return page


def _file(name: str) -> str:
    return files("uop3d_core.report").joinpath(name).read_text(encoding="utf-8")


def _section(key: str, title: str, body: str) -> str:
    return f'<section id="{key}" aria-labelledby="{key}-title">\n<h2 id="{key}-title">{title}</h2>\n{body}\n</section>'


def _scene(content: Content) -> str:
    """Shapes for the 3-D view as JSON that cannot end the element it stands in."""
    captures = content.record.alignment.captures
    shapes = [_shape("template", content.template.mesh, "template")]
    for name, mesh in content.meshes.items():
        shapes.append(_shape(name, mesh, "accepted" if captures[name].accepted else "rejected"))
    symmetry = content.template.symmetry
    scene = {"shapes": shapes, "symmetry": None if symmetry.fold == 1 else symmetry.axis.tolist()}
    return json.dumps(scene, allow_nan=False).replace("<", "\\u003c")


def _shape(name: str, mesh: Mesh, kind: str) -> dict[str, object]:
    """Vertices as base64 of little-endian float32, faces of uint16."""
    small = simplified(mesh)
    return {
        "name": name,
        "kind": kind,
        "vertices": _packed(small.vertices, "<f4"),
        "faces": _packed(small.faces, "<u2"),
    }


def _packed(values: Iterable[float] | np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype=kind).tobytes()).decode()


def simplified(mesh: Mesh, most: int = MAX_VERTICES) -> Mesh:
    """The mesh, or one of about `most` vertices (never more than fit into uint16) where it has more."""
    if len(mesh.vertices) <= most:
        return mesh
    share = 1 - most / len(mesh.vertices)
    vertices, faces = fast_simplification.simplify(
        np.asarray(mesh.vertices, np.float32), np.asarray(mesh.faces, np.int32), share
    )
    used, inverse = np.unique(faces, return_inverse=True)
    return Mesh(vertices[used], inverse.reshape(-1, 3)) if len(used) < 2**16 else simplified(mesh, most // 2)
