"""The nouns of uop3d: frozen dataclasses that every stage takes and gives, to be imported from here.

What: one immutable type per box of the data flow; shapes, units and frames stand at every field and are checked.
In / out: numpy arrays only; images are uint8 RGB, masks bool, rigid transforms (4, 4) float64.
Frames: ``cam`` is the OpenCV optical frame, ``world`` the arbitrary gauge of one capture, ``obj`` the canonical frame
of the category (x front, y left, z up; unit = bounding-box diagonal of the template). ``a_T_b`` maps b to a.
"""

from uop3d_core.types.alignments import Alignment, CaptureAlignment, PairAlignment
from uop3d_core.types.captures import Camera, Capture, Frame
from uop3d_core.types.estimates import Detection, PoseEstimate, PoseHypothesis, Track, TrackState
from uop3d_core.types.shapes import Mesh, Surface, Symmetry, Template
from uop3d_core.types.similarity import Sim3

__all__ = [
    "Alignment", "Camera", "Capture", "CaptureAlignment", "Detection", "Frame", "Mesh", "PairAlignment", "PoseEstimate",
    "PoseHypothesis", "Sim3", "Surface", "Symmetry", "Template", "Track", "TrackState",
]  # fmt: skip
