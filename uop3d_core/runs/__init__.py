"""The run directory: what stands where, written whole or not at all, and made again only when it has to be.

In / out: arrays, dataclasses of `types`, JSON. Layout of a run::

    run.json                    format, category, captures, backbone, settings of all stages
    1_meshes/CAPTURE.safetensors        coarse mesh, world frame
    2_basis.safetensors                 projection of backbone features
    3_surfaces/CAPTURE.safetensors      mesh with features, world frame
    4_pairs/A+B.safetensors             similarities world of B to world of A
    alignment.json, template.ply        captures to obj; the shape in obj
    5_training/                         working folder of the training
    model.safetensors                   the result
    timings.json                        how long the stages took
    evaluation/                         figures against labels, where there are any
    pictures/, report.html              for the eye

Every artefact carries a fingerprint of the settings and inputs it was made from. One whose fingerprint differs from the
one asked for is made again, and so is one that is damaged. Anything may be deleted, but what was made from it is still
valid then, unless it is deleted too.
"""

from uop3d_core.runs.alignment_file import AlignmentRecord
from uop3d_core.runs.artefacts import MESH, PAIR, SURFACE, Codec, cached, load, save
from uop3d_core.runs.fingerprints import FORMAT, capture_fingerprint, check_capture_name, fingerprint, pair_generator
from uop3d_core.runs.folder import Run, RunRecord
from uop3d_core.runs.json_files import read_json, read_json_object

__all__ = [
    "FORMAT", "MESH", "PAIR", "SURFACE", "AlignmentRecord", "Codec", "Run", "RunRecord", "cached",
    "capture_fingerprint", "check_capture_name", "fingerprint", "load", "pair_generator", "read_json",
    "read_json_object", "save",
]  # fmt: skip
