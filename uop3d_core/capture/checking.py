"""Is a capture good enough to learn from, and if not, what to film differently.

In: a `Capture`, what is known of how it was made (`Record`), the mesh of its masks. Out: a `Verdict`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from uop3d_core.cameras import rays_through
from uop3d_core.capture.pictures import sharpness, small_grey
from uop3d_core.config import QualitySettings
from uop3d_core.geometry import Array
from uop3d_core.images import mask_box
from uop3d_core.raycast import RayCaster
from uop3d_core.types import Capture, Frame, Mesh

SECTORS = 24
"""Directions around the object that are told apart."""
REACH = 1
"""Sectors to either side of a camera that count as seen, too."""
SOFT = 0.6
"""Pictures less sharp than this share of the usual count as blurred."""
AGREEMENT = 0.8
"""A mask that overlaps less with what the others say (IoU) is a bad one."""
ACROSS = 200
"""Pixels across which masks and the shape of all masks are compared."""


@dataclass(frozen=True)
class Record:
    """What making a capture told.

    Attributes:
        taken: pictures that were chosen, or None where that is not known.
        placed: those of them with a camera.
        trusted: those of them whose mask could be trusted.
        error: mean reprojection error in pixels of a picture 1000 pixels wide, or None.
        still: share of the pairs of pictures in which the object moves as the cameras say, or None.
        notes: what a person should know.
    """

    taken: int | None = None
    placed: int | None = None
    trusted: int | None = None
    error: float | None = None
    still: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Gate:
    """One thing that was checked.

    Attributes:
        name: what.
        value: what it is, or "not known".
        limit: what it should be.
        passed: whether it is so; what is not known passes.
        advice: what to do about it, where it is not.
    """

    name: str
    value: str
    limit: str
    passed: bool
    advice: str = ""


@dataclass(frozen=True, eq=False)
class FrameFigures:
    """Figures of one frame.

    Attributes:
        name: of the frame.
        azimuth, elevation: of the camera as seen from the object, radians; up is the z axis.
        distance: of the camera, in object diameters.
        area: share of the image inside the mask.
        cut: whether the border of the image cuts the object.
        sharpness: relative to the median.
        agreement: IoU of the mask with the shape that all masks make; NaN without such a shape.
    """

    name: str
    azimuth: float
    elevation: float
    distance: float
    area: float
    cut: bool
    sharpness: float
    agreement: float


@dataclass(frozen=True, eq=False)
class Verdict:
    """Whether a capture can be learned from.

    Attributes:
        gates: what was checked.
        frames: figures of every frame.
        notes: what a person should know besides.
    """

    gates: tuple[Gate, ...]
    frames: tuple[FrameFigures, ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def passed(self) -> bool:
        """All gates are."""
        return all(gate.passed for gate in self.gates)

    @property
    def advice(self) -> list[str]:
        """What to do, one sentence each."""
        return [gate.advice for gate in self.gates if not gate.passed]

    def to_json(self) -> dict[str, Any]:
        """As a JSON object."""
        gates = [vars(gate) for gate in self.gates]
        return {"passed": self.passed, "gates": gates, "notes": list(self.notes)}


def check_capture(
    capture: Capture, up: Array, mesh: Mesh | None, why: str, record: Record, settings: QualitySettings
) -> Verdict:
    """Check a capture.

    Args:
        capture: to check.
        up: (3,) unit vector in its world.
        mesh: closed mesh of its masks, world frame, or None where there is none.
        why: the reason for that.
        record: what making it told.
        settings: limits.
    """
    figures = tuple(frame_figures(capture, up, mesh))
    gates = (
        _frames(figures, settings),
        _registered(record, settings),
        _error(record, settings),
        _still(record, settings),
        _around(figures, settings),
        _masks(figures, record, mesh, why, settings),
        _area(figures, settings),
        _cut(figures, settings),
        _blur(figures, settings),
        _distances(figures, settings),
    )
    return Verdict(gates, figures, record.notes)


def frame_figures(capture: Capture, up: Array, mesh: Mesh | None) -> list[FrameFigures]:
    """Figures of every frame, in order."""
    caster = RayCaster(mesh) if mesh is not None else None
    eyes = np.array([_eye(frame) for frame in capture.frames])
    centre = mesh.vertices.mean(0) if mesh is not None else eyes.mean(0)
    size = mesh.diameter if mesh is not None else float(np.linalg.norm(eyes - centre, axis=1).mean())
    side = np.cross(up, np.eye(3)[np.abs(up).argmin()])
    side /= np.linalg.norm(side)
    axes = np.stack([side, np.cross(up, side), up])
    sharp = np.array([sharpness(small_grey(frame.image)) for frame in capture.frames])
    usual = max(float(np.median(sharp)), 1e-9)
    found = []
    for frame, eye, sharpness_ in zip(capture.frames, eyes, sharp, strict=True):
        x, y, z = axes @ (eye - centre)
        mask = frame.mask
        found.append(
            FrameFigures(
                name=frame.name,
                azimuth=float(np.arctan2(y, x)),
                elevation=float(np.arctan2(z, np.hypot(x, y))),
                distance=float(np.linalg.norm(eye - centre) / size),
                area=float(mask.mean()),
                cut=_is_cut(mask),
                sharpness=float(sharpness_ / usual),
                agreement=_agreement(frame, mask, caster),
            )
        )
    return found


def seen_around(figures: tuple[FrameFigures, ...]) -> Array:
    """(SECTORS,) bool: from which directions around the object pictures were taken."""
    seen = np.zeros(SECTORS, bool)
    for figure in figures:
        sector = int(figure.azimuth / (2 * np.pi) * SECTORS) % SECTORS
        seen[np.arange(sector - REACH, sector + REACH + 1) % SECTORS] = True
    return seen


def _eye(frame: Frame) -> Array:
    assert frame.cam_T_world is not None, "a Capture has only frames with a camera"
    eye: Array = -frame.cam_T_world[:3, :3].T @ frame.cam_T_world[:3, 3]
    return eye


def _is_cut(mask: Array) -> bool:
    """Whether much of the object's outline lies on the border of the image."""
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]]).sum()
    return bool(border > 0.15 * np.sqrt(max(int(mask.sum()), 1)))


def _agreement(frame: Frame, mask: Array, caster: RayCaster | None) -> float:
    """IoU of a mask with the mesh of all masks as this camera sees it, on a coarse grid of pixels."""
    if caster is None or not mask.any() or frame.cam_T_world is None:
        return 0.0 if caster is not None else float("nan")
    box = mask_box(mask)
    pad = 0.25 * float((box[2:] - box[:2]).max())
    step = max(1.0, float((box[2:] - box[:2]).max() + 2 * pad) / ACROSS)
    xs = np.arange(max(box[0] - pad, 0), min(box[2] + pad, mask.shape[1] - 1), step)
    ys = np.arange(max(box[1] - pad, 0), min(box[3] + pad, mask.shape[0] - 1), step)
    pixels = np.stack(np.meshgrid(xs, ys), -1).reshape(-1, 2)
    hit = caster.first_hits_of_rays(rays_through(frame.camera, pixels), frame.cam_T_world).mask
    inside = mask[np.rint(pixels[:, 1]).astype(int), np.rint(pixels[:, 0]).astype(int)]
    return float((hit & inside).sum() / max(int((hit | inside).sum()), 1))


def _frames(figures: tuple[FrameFigures, ...], settings: QualitySettings) -> Gate:
    count = len(figures)
    return Gate(
        "frames", str(count), f"at least {settings.frames}", count >= settings.frames,
        "film longer and from more directions: a slow circle of 20 to 40 s",
    )  # fmt: skip


def _registered(record: Record, settings: QualitySettings) -> Gate:
    name, limit = "pictures with a camera", f"at least {settings.registered:.0%}"
    if record.taken is None or record.placed is None:
        return Gate(name, "not known", limit, True)
    share = record.placed / max(record.taken, 1)
    return Gate(
        name, f"{record.placed} of {record.taken}", limit, share >= settings.registered,
        "move slowly and evenly, keep textured things in view (put a newspaper under the object), and avoid blur",
    )  # fmt: skip


def _error(record: Record, settings: QualitySettings) -> Gate:
    name, limit = "reprojection error", f"at most {settings.error:.1f} px in 1000"
    if record.error is None:
        return Gate(name, "not known", limit, True)
    moved = record.still is None or record.still < settings.still
    return Gate(
        name, f"{record.error:.2f} px", limit, record.error <= settings.error,
        "nothing may move while you film, neither the object nor what is around it; lock zoom and focus" if moved else
        "what is filmed has too few sharp details: put a newspaper or a printed cloth under the object, in good light, "
        "move slowly, and lock zoom and focus",
    )  # fmt: skip


def _still(record: Record, settings: QualitySettings) -> Gate:
    name, limit = "object kept still", f"in at least {settings.still:.0%}"
    if record.still is None:
        return Gate(name, "not known", limit, True)
    return Gate(
        name, f"in {record.still:.0%} of pairs", limit, record.still >= settings.still,
        "the object moved while it was filmed: film it again, and let nobody touch it or what it stands on",
    )  # fmt: skip


def _around(figures: tuple[FrameFigures, ...], settings: QualitySettings) -> Gate:
    seen = seen_around(figures)
    gap, share = _widest_gap(seen), float(seen.mean())
    return Gate(
        "seen from around", f"{share:.0%}", f"at least {settings.around:.0%}", share >= settings.around,
        f"walk all the way around the object: {gap * 360 // SECTORS} degrees in one piece were never filmed",
    )  # fmt: skip


def _widest_gap(seen: Array) -> int:
    """Longest run of sectors that were not seen, around the circle."""
    if not seen.any():
        return SECTORS
    start = int(np.flatnonzero(seen)[0])
    longest = run = 0
    for value in np.roll(seen, -start):
        run = 0 if value else run + 1
        longest = max(longest, run)
    return longest


def _masks(
    figures: tuple[FrameFigures, ...], record: Record, mesh: Mesh | None, why: str, settings: QualitySettings
) -> Gate:
    name, limit = "masks that agree", f"at least {settings.masks:.0%}"
    if mesh is None:
        return Gate(name, "no closed shape", limit, False, f"the masks make no shape ({why}); give masks by --masks")
    good = sum(figure.agreement >= AGREEMENT for figure in figures)
    total = record.placed if record.placed is not None else len(figures)
    return Gate(
        name, f"{good} of {total}", limit, good >= settings.masks * total,
        "put the object on a ground of another colour, away from other things, in even light; or give masks by --masks",
    )  # fmt: skip


def _area(figures: tuple[FrameFigures, ...], settings: QualitySettings) -> Gate:
    area = float(np.median([figure.area for figure in figures]))
    return Gate(
        "object in the image", f"{area:.1%}", f"at least {settings.area:.1%}", area >= settings.area,
        "go nearer: the object should fill a third of the image's height",
    )  # fmt: skip


def _cut(figures: tuple[FrameFigures, ...], settings: QualitySettings) -> Gate:
    share = float(np.mean([figure.cut for figure in figures]))
    return Gate(
        "cut by the border", f"{share:.0%}", f"at most {settings.cut:.0%}", share <= settings.cut,
        "keep the whole object in the picture: step back or aim at its middle",
    )  # fmt: skip


def _blur(figures: tuple[FrameFigures, ...], settings: QualitySettings) -> Gate:
    share = float(np.mean([figure.sharpness < SOFT for figure in figures]))
    return Gate(
        "blurred", f"{share:.0%}", f"at most {settings.blur:.0%}", share <= settings.blur,
        "move more slowly, or film in better light",
    )  # fmt: skip


def _distances(figures: tuple[FrameFigures, ...], settings: QualitySettings) -> Gate:
    distances = [figure.distance for figure in figures]
    ratio = max(distances) / max(min(distances), 1e-9)
    return Gate(
        "distances, largest to smallest", f"{ratio:.1f}", f"at most {settings.scale:.0f}", ratio <= settings.scale,
        "keep about the same distance from the object all the time",
    )  # fmt: skip


__all__ = ["FrameFigures", "Gate", "Record", "Verdict", "check_capture", "frame_figures", "seen_around"]
