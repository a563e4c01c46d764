"""The report of a run as one HTML page, which needs neither a network nor another file.

In: `Content`. Out: text. Whatever comes from files is escaped, and the page's own policy forbids it to load anything.
"""

from __future__ import annotations

import base64
import json
from html import escape
from importlib.resources import files
from string import Template as Text

import fast_simplification
import numpy as np

from uop3d_core.report.content import Content
from uop3d_core.report.sections.about import about
from uop3d_core.report.sections.captures import captures
from uop3d_core.report.sections.comparing import comparing
from uop3d_core.report.sections.overview import overview
from uop3d_core.report.sections.pairs import pairs
from uop3d_core.report.sections.poses import poses
from uop3d_core.report.sections.shapes import shapes, template
from uop3d_core.report.sections.training import training
from uop3d_core.types import Mesh

MAX_BYTES = 25_000_000
MAX_VERTICES, VERTICES_IN_ALL, MIN_VERTICES = 3000, 180_000, 500
"""Meshes with more vertices are simplified: the page shows dozens of them, small. Of very many, each gets fewer."""
STEPS = 2**16 - 1
"""Vertices are kept in so many steps of the largest coordinate there is."""


def render(content: Content) -> str:
    """The whole page.

    Raises:
        ValueError: it would be larger than MAX_BYTES.
    """
    category, other = content.record.alignment.category, content.other
    sections = {
        "summary": ("In one look", overview(content)),
        **({"comparison": ("Compared with another run", comparing(content, other))} if other else {}),
        "surfaces": ("Aligned surfaces", shapes(content)),
        "template": ("Template", template(content)),
        "captures": ("Captures", captures(content)),
        "pairs": ("Pairs", pairs(content)),
        "training": ("Training", training(content)),
        **({"poses": ("Poses", poses(content.pose))} if content.pose else {}),
        "settings": ("Versions, times, settings", about(content)),
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
    entries, other = content.record.alignment.captures, content.other
    named = [("template", "template", content.template.mesh)]
    if other is not None and other.template is not None:
        named.append((f"template of {other.name}", "other", other.template))
    kinds = {True: "accepted", False: "rejected"}
    named += [(name, kinds[entries[name].accepted], mesh) for name, mesh in content.meshes.items()]
    most = max(MIN_VERTICES, min(MAX_VERTICES, VERTICES_IN_ALL // len(named)))
    symmetry = content.template.symmetry
    scene = {
        "shapes": [_shape(name, kind, simplified(mesh, most)) for name, kind, mesh in named],
        "symmetry": None if symmetry.fold == 1 else symmetry.axis.tolist(),
    }
    return json.dumps(scene, allow_nan=False).replace("<", "\\u003c")


def _shape(name: str, kind: str, mesh: Mesh) -> dict[str, object]:
    """Base64 of little-endian uint16: faces, and vertices in steps of `unit` from `low`."""
    low = mesh.vertices.min(0)
    unit = float((mesh.vertices.max(0) - low).max()) / STEPS or 1.0
    return {
        "name": name,
        "kind": kind,
        "low": low.tolist(),
        "unit": unit,
        "vertices": _packed(np.rint((mesh.vertices - low) / unit)),
        "faces": _packed(mesh.faces),
    }


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(values, dtype="<u2").tobytes()).decode()


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
