"""A copy of an aligned run whose captures lie where the labels say: what is lost by learning the alignment?

In: a run that was aligned, and the labels of its captures. Out: another run, ready for `uop3d train`, with the same
captures, meshes and settings; its template is fused from the meshes under the labels, in the labels' axes.

    python benchmarks/labelled_alignment.py runs/car --labels ETH80/car/labels.json --out runs/car_labelled
    uop3d train runs/car_labelled
    uop3d evaluate pose runs/car_labelled/model.safetensors --run runs/car_labelled ...
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from uop3d_core.alignment.axes import Axes
from uop3d_core.alignment.template import fuse_template
from uop3d_core.capture.folder import list_captures
from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.config import RunSettings, parse_settings
from uop3d_core.evaluation.labels import read_labels
from uop3d_core.pipeline.aligning import mesh_mark
from uop3d_core.pipeline.loops import make_mesh
from uop3d_core.runs import MESH, AlignmentRecord, Run, cached
from uop3d_core.types import Alignment, CaptureAlignment, Mesh, Surface


def main() -> None:
    """Read the arguments, write the run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run that was aligned")
    parser.add_argument("--labels", type=Path, required=True, help="labels.json of its captures")
    parser.add_argument("--out", type=Path, required=True, metavar="RUN", help="the new run")
    args = parser.parse_args()
    names = relabel(Run(args.run), args.labels, Run(args.out))
    print(f"{args.out}: {len(names)} captures where {args.labels} says")


def relabel(source: Run, labels_path: Path, target: Run) -> tuple[str, ...]:
    """Write the run with the labels' alignment; returns its captures, those that `source` accepted.

    Raises:
        FileNotFoundError: `source` is no aligned run.
        FileExistsError: `target` is there already.
        ValueError: the labels do not know a capture.
    """
    if target.alignment.exists():
        raise FileExistsError(f"{target.alignment} is there already: choose another folder for the labelled run")
    record, aligned, labels = source.read_record(), source.read_alignment(), read_labels(labels_path)
    names = tuple(name for name, entry in aligned.alignment.captures.items() if entry.accepted)
    unknown = [name for name in names if name not in labels.label_T_world]
    if unknown:
        raise ValueError(f"{labels_path} has no label for {', '.join(unknown)}")
    settings = parse_settings(RunSettings, record.settings, str(source.record_path))
    captures = {name: CaptureAlignment(labels.label_T_world[name], 1.0, True) for name in names}
    alignment = Alignment(record.category, aligned.alignment.reference, captures)
    target.write_record(replace(record, captures=names))
    surfaces = {}
    for folder in list_captures(record.captures_folder, names):
        make = partial(_mesh, folder, settings)
        surfaces[folder.name] = _bare(
            folder.name, cached(target.mesh(folder.name), mesh_mark(folder, settings), MESH, make)
        )
    template, placed = fuse_template(alignment, surfaces, settings.template, labels.symmetry_group, Axes(np.eye(3), ""))
    target.write_alignment(AlignmentRecord(placed, {}), template)
    return names


def _mesh(folder: Path, settings: RunSettings) -> Mesh:
    return make_mesh(read_nerfstudio(folder), settings.surface)


def _bare(name: str, mesh: Mesh) -> Surface:
    """A surface without looks, which fusing does not need."""
    count = len(mesh.vertices)
    return Surface(
        name, mesh, np.zeros((count, 1, 1)), np.zeros((count, 1), bool), np.zeros(count), np.array([0.0, 0.0, 1.0])
    )


if __name__ == "__main__":
    main()
