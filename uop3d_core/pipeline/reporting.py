"""A run directory to its report: one HTML file that shows what was learned, how good it is, and what failed.

In: a run directory, which is only read, figures of ``uop3d evaluate`` if there are any, and another run to compare with
if one is asked for. Out: the file.
What a run lacks, or what is damaged in it, is told on the page; without an alignment there is none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from uop3d_core.alignment.axes import turn_between
from uop3d_core.alignment.comparison import evenly
from uop3d_core.atomic import write_text
from uop3d_core.capture.folder import list_captures
from uop3d_core.capture.nerfstudio import read_nerfstudio
from uop3d_core.config import RunSettings, parse_settings
from uop3d_core.geometry import Array, inverse_rigid, rotation_angle
from uop3d_core.images import mask_box
from uop3d_core.learned import METADATA_KEY, read_about
from uop3d_core.pipeline.evaluations import alignment_file, pose_file, read_alignment_figures, read_pose_figures
from uop3d_core.progress import Progress, silent
from uop3d_core.report.comparison import compare
from uop3d_core.report.content import CaptureSheet, Comparison, Content, Curve, ModelFacts, PairTurn, PoseFigures
from uop3d_core.report.examples import cut_square
from uop3d_core.report.page import render
from uop3d_core.report.sections.training import FIGURES
from uop3d_core.report.sheets import draw_template
from uop3d_core.runs import MESH, PAIR, AlignmentRecord, Run, RunRecord, load
from uop3d_core.timings import Timings, read_timings
from uop3d_core.types import Alignment, Capture, Frame, Mesh, PairAlignment, Sim3, Symmetry

MAX_SHOWN = 200
"""Captures with photographs and surfaces; a third of them may be rejected ones. Keeps the file below its limit."""
PHOTOS, PHOTO_SIDE, PHOTO_MARGIN = 6, 112, 1.2
MAX_STILL_BYTES = 2_000_000
TRAININGS = ("training", "rehearsal")
STILLS = {"alignment.png": "all captures from three sides"}


@dataclass
class _Gathered:
    """What `write_report` finds, and what it does not find."""

    notes: list[str] = field(default_factory=list)

    def sheets(
        self, alignment: Alignment, names: Sequence[str], folder: Path, progress: Progress
    ) -> dict[str, CaptureSheet]:
        """Photographs of captures, as far as these can be read."""
        try:
            folders = {path.name: path for path in list_captures(folder)}
        except OSError:
            self.notes.append(f"photographs: the folder of the captures, {folder.name}, is not where it was")
            return {}
        found: dict[str, CaptureSheet] = {}
        for done, name in enumerate(names, start=1):
            try:
                capture = read_nerfstudio(folders[name])
                directions = directions_deg(capture, alignment.captures[name].obj_T_world)
                found[name] = CaptureSheet(contact_strip(capture), directions, around_deg(directions))
            except KeyError:
                self.notes.append(f"photographs of {name}: the capture is no longer there")
            except (OSError, ValueError) as error:
                self.notes.append(f"photographs of {name}: {_without_folder(error, folder)}")
            progress("photographs", done, len(names))
        return found

    def meshes(self, run: Run, names: Sequence[str], record: AlignmentRecord) -> dict[str, Mesh]:
        """Surfaces in obj."""
        found = {}
        for name in names:
            mesh = load(run.mesh(name), record.inputs.get(name, ""), MESH)
            if mesh is None:
                self.notes.append(f"surface of {name}: not in the run any more, or damaged")
            else:
                found[name] = mesh.transformed(record.alignment.captures[name].obj_T_world)
        return found

    def model(self, run: Run, record: AlignmentRecord) -> ModelFacts | None:
        """What the model says of itself; its arrays are not read."""
        if not run.model.is_file():
            return None
        try:
            with safe_open(run.model, framework="numpy") as file:
                about = read_about((file.metadata() or {}).get(METADATA_KEY), run.model.name)
            if not all(isinstance(about.get(key), dict) for key in ("metadata", "settings")):
                raise ValueError("it does not say how it was trained")
        except (SafetensorError, OSError, ValueError) as error:
            self.notes.append(f"model: {run.model.name} cannot be read ({error})")
            return None
        belongs = about["metadata"].get("alignment") == record.digest
        return ModelFacts(about, run.model.stat().st_size / 1e6, belongs)

    def curves(self, run: Run) -> dict[str, dict[str, Curve]]:
        """Figures over epochs, by figure and training."""
        folders = {name: run.training / "tensorboard" / name for name in TRAININGS}
        read = {name: scalars(folder) for name, folder in folders.items() if folder.is_dir()}
        found: dict[str, dict[str, Curve]] = {}
        for figure in FIGURES:
            found[figure] = {name: figures[figure] for name, figures in read.items() if figures.get(figure)}
        if run.model.is_file() and not found["loss"]:
            self.notes.append("training curves: the run no longer has readable events of its training")
        return {figure: curves for figure, curves in found.items() if curves}

    def timings(self, run: Run) -> Timings:
        """Seconds of the stages."""
        try:
            return read_timings(run.timings)
        except (OSError, ValueError) as error:
            self.notes.append(f"times: {_without_folder(error, run.folder)}")
            return Timings()

    def pose(self, run: Run, model: ModelFacts | None, file: Path | None) -> PoseFigures | None:
        """Figures of poses: of the file that was given, or else of the run, where they are of its model."""
        metadata = None if model is None else model.about["metadata"]
        if file is not None:
            return read_pose_figures(file, metadata)
        kept = pose_file(run)
        if not kept.is_file():
            return None
        try:
            figures = read_pose_figures(kept, metadata)
        except (OSError, ValueError) as error:
            self.notes.append(f"figures of poses: {_without_folder(error, run.folder)}")
            return None
        if not figures.belongs:
            self.notes.append("figures of poses: those in the run are of another model, evaluate again")
            return None
        return figures

    def labelled(self, run: Run, digest: str) -> Mapping[str, Any] | None:
        """Figures of the alignment, where those in the run are of it."""
        kept = alignment_file(run)
        if not kept.is_file():
            return None
        try:
            figures = read_alignment_figures(kept, digest)
        except (OSError, ValueError) as error:
            self.notes.append(f"figures of the alignment: {_without_folder(error, run.folder)}")
            return None
        if figures is None:
            self.notes.append("figures of the alignment: those in the run are of another one")
        return figures


def write_report(
    run_folder: Path | str,
    out_file: Path | str | None = None,
    *,
    pose: Path | str | None = None,
    against: Path | str | None = None,
    progress: Progress = silent,
) -> Path:
    """Write the report of a run.

    Args:
        run_folder: an aligned run, trained or not.
        out_file: by default report.html in the run.
        pose: file of ``uop3d evaluate pose --json``; by default what that command left in the run.
        against: another run to compare with.
        progress: is told "photographs".

    Returns:
        Where it was written.

    Raises:
        FileNotFoundError: this is no run, or it is not aligned, or there is no file `pose`.
        ValueError: something in it is damaged, `pose` holds something else, or the name does not end with .html.

    Examples:
        >>> write_report("runs/mug", "report.html").name
        'report.html'
    """
    run = Run(Path(run_folder))
    out_file = run.report if out_file is None else Path(out_file)
    if out_file.is_dir():
        raise IsADirectoryError(f"{out_file} is a folder: give a file, e.g. {out_file / 'report.html'}")
    if out_file.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"{out_file}: the name of a report ends with .html")
    content = gather(run, None if pose is None else Path(pose), progress)
    if against is not None:
        other = Run(Path(against))
        if other.folder == run.folder:
            raise ValueError(f"{against} is the run itself: give another one to compare with")
        content = replace(content, other=compared(content, gather(other, pictures=False)))
    write_text(out_file, render(content))
    return out_file


def gather(run: Run, pose: Path | None = None, progress: Progress = silent, pictures: bool = True) -> Content:
    """Everything that the report of a run shows, photographs and surfaces if asked for; errors as in `write_report`."""
    about, record = run.read_record(), run.read_alignment()
    settings = parse_settings(RunSettings, about.settings, str(run.record_path))
    template, found = run.read_template(record), _Gathered()
    shown = _shown(record.alignment) if pictures else []
    left_out = len(record.alignment.captures) - len(shown) if pictures else 0
    if left_out:
        found.notes.append(f"photographs and surfaces of {left_out} captures: {len(shown)} are shown")
    model = found.model(run, record)
    return Content(
        record=record,
        template=template,
        name=run.folder.name,
        meshes=found.meshes(run, shown, record),
        sheets=found.sheets(record.alignment, shown, about.captures_folder, progress) if pictures else {},
        pairs=pair_turns(run, record) if pictures else {},
        model=model,
        curves=found.curves(run),
        settings=settings.model_dump(),
        defaults=RunSettings().model_dump(),
        facts=_facts(run, about),
        timings=found.timings(run),
        labelled=found.labelled(run, record.digest),
        pose=found.pose(run, model, pose),
        stills=_stills(run) if pictures else {},
        template_picture=draw_template(record.alignment, {}, template) if pictures else None,
        notes=found.notes,
    )


def compared(here: Content, there: Content) -> Comparison:
    """One run beside another, whose frame is turned and scaled onto that of the first by the captures of both."""
    mine, theirs = here.record.alignment, there.record.alignment
    turn = turn_between(theirs, mine)
    if turn is None:
        return compare(here, there, {}, None)
    both = [name for name in mine.captures if name in theirs.captures]
    symmetry = here.record.symmetry
    world_R_moved = np.stack([(turn @ theirs.captures[name].obj_T_world.R).T for name in both])
    world_R_obj = np.stack([mine.captures[name].obj_T_world.R.T for name in both])
    nearest = symmetry.nearest(world_R_obj, world_R_moved)
    angles = np.rad2deg(rotation_angle(np.swapaxes(nearest, -1, -2) @ world_R_moved))
    scale = np.median([mine.captures[n].obj_T_world.scale / theirs.captures[n].obj_T_world.scale for n in both])
    mesh = there.template.mesh.transformed(Sim3(float(scale), turn, np.zeros(3)))
    return compare(here, there, dict(zip(both, angles.tolist(), strict=True)), mesh)


def _shown(alignment: Alignment) -> list[str]:
    """Captures with pictures, by name; of very many, some rejected ones and as many accepted ones as there is room."""
    captures = alignment.captures
    rejected = sorted(name for name, entry in captures.items() if not entry.accepted)
    accepted = sorted(name for name, entry in captures.items() if entry.accepted)
    few = rejected if len(captures) <= MAX_SHOWN else rejected[: MAX_SHOWN // 3]
    return sorted([*few, *accepted[: MAX_SHOWN - len(few)]])


def contact_strip(capture: Capture) -> Array:
    """(PHOTO_SIDE, W, 3) uint8: the object in some frames, spread evenly over the capture."""
    return np.concatenate([_photo(frame) for frame in evenly(capture.frames, PHOTOS)], axis=1)


def directions_deg(capture: Capture, obj_T_world: Sim3) -> Array:
    """(frames, 2) azimuth and elevation of the cameras about the origin of obj, degrees."""
    centres = [inverse_rigid(f.cam_T_world)[:3, 3] for f in capture.frames if f.cam_T_world is not None]
    x, y, z = obj_T_world.apply(np.stack(centres)).T
    return np.rad2deg(np.stack([np.arctan2(y, x), np.arctan2(z, np.hypot(x, y))], axis=1))


def around_deg(directions_deg: Array) -> float:
    """A full turn about z of obj less the largest gap between the cameras, degrees."""
    angles = np.sort(directions_deg[:, 0])
    return 360.0 - float(np.diff(angles, append=angles[0] + 360).max())


def _photo(frame: Frame) -> Array:
    """The square around the object's mask, (PHOTO_SIDE, PHOTO_SIDE, 3); all of the image where the mask is empty."""
    image = frame.image
    box = mask_box(frame.mask) if frame.mask.any() else np.array([0, 0, image.shape[1], image.shape[0]]) - 0.5
    return cut_square(image, box, PHOTO_MARGIN, PHOTO_SIDE)[0]


def pair_turns(run: Run, record: AlignmentRecord) -> dict[tuple[str, str], PairTurn]:
    """How far every pair that is in the run is from the common frame."""
    captures, found = record.alignment.captures, {}
    for path in sorted((run.folder / "4_pairs").glob("*+*.safetensors")):
        pair = load(path, None, PAIR)
        if pair is not None and pair.a in captures and pair.b in captures:
            found[pair.a, pair.b] = pair_turn(pair, record.alignment, record.symmetry)
    return found


def pair_turn(pair: PairAlignment, alignment: Alignment, symmetry: Symmetry) -> PairTurn:
    """The angles between what a pair says and where all captures together put it, modulo the symmetry."""
    obj_R_a, obj_R_b = (alignment.captures[name].obj_T_world.R for name in (pair.a, pair.b))
    a_R_obj = np.stack([mode.R @ obj_R_b.T for mode in pair.a_T_b])
    nearest = symmetry.nearest(np.broadcast_to(obj_R_a.T, a_R_obj.shape), a_R_obj)
    angles = np.rad2deg(rotation_angle(np.swapaxes(nearest, -1, -2) @ a_R_obj))
    return PairTurn(float(angles[0]), float(angles.min()), len(angles), float(pair.scores[0]))


def scalars(folder: Path) -> dict[str, list[tuple[float, float]]]:
    """(epoch, mean) of every figure in TensorBoard events, epochs counted from 1; what is damaged is left out."""
    from tensorboard.backend.event_processing.directory_watcher import DirectoryDeletedError
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    try:
        events = EventAccumulator(str(folder), size_guidance={SCALARS: 0}).Reload()
    except (DirectoryDeletedError, OSError, ValueError):
        return {}
    found = {}
    for figure in events.Tags()[SCALARS]:
        by_epoch = {event.step + 1: float(event.value) for event in events.Scalars(figure)}
        found[figure] = [(float(epoch), value) for epoch, value in sorted(by_epoch.items()) if np.isfinite(value)]
    return found


def _facts(run: Run, about: RunRecord) -> list[tuple[str, str]]:
    """Versions, inputs, and when what was finished. Folders are not told, as a report may be handed on."""
    name, _, weights = about.backbone.partition(":")
    facts = [
        ("run", run.folder.name),
        ("captures from", f"{about.captures_folder.name} ({len(about.captures)})"),
        ("backbone", f"{name}, weights {Path(weights).name}" if weights else name),
        ("made with", _made_with(run) or "versions were not kept"),
        ("report made with", f"uop3d {distribution_version('uop3d')}"),
    ]
    for path in (run.record_path, run.alignment, run.template, run.model):
        if path.is_file():
            stat = path.stat()
            when = datetime.fromtimestamp(stat.st_mtime).astimezone()
            facts.append((path.name, f"{when:%Y-%m-%d %H:%M %Z}, {stat.st_size / 1e3:,.0f} kB"))
    return facts


def _made_with(run: Run) -> str:
    """Versions of the last call that worked on the run, or "" where these were not kept."""
    try:
        made_with = read_timings(run.timings).made_with
    except (OSError, ValueError):
        return ""
    return ", ".join(f"{name} {version}" for name, version in made_with.items())


def _stills(run: Run) -> dict[str, bytes]:
    """Pictures that align has drawn, as far as they are up to date and small."""
    paths = {title: run.pictures / name for name, title in STILLS.items()}
    made = run.alignment.stat().st_mtime_ns
    return {
        title: path.read_bytes()
        for title, path in paths.items()
        if path.is_file() and path.stat().st_size <= MAX_STILL_BYTES and path.stat().st_mtime_ns >= made
    }


def _without_folder(error: Exception, folder: Path) -> str:
    return str(error).replace(f"{folder}/", "")
