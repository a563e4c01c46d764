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

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import trimesh
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from uop3d_core.atomic import remove_drafts, replaced, write_bytes, write_json
from uop3d_core.config import Settings
from uop3d_core.geometry import Array
from uop3d_core.types import Alignment, CaptureAlignment, Mesh, PairAlignment, Sim3, Surface, Symmetry, Template

FORMAT = 2
"""Of run.json and all artefacts; raised when older ones can no longer be used, as after a change of an algorithm."""

BY_HAND = "by hand"
CAPTURE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")

logger = logging.getLogger(__name__)
T = TypeVar("T")


def fingerprint(**parts: Any) -> str:
    """Hex digest of settings, names and other fingerprints; the same parts give the same digest everywhere."""
    plain = {key: value.model_dump() if isinstance(value, Settings) else value for key, value in parts.items()}
    text = json.dumps({"format": FORMAT, **plain}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def capture_fingerprint(folder: Path) -> str:
    """Digest of a capture folder: content of its JSON files; name, size and time of change of all others."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    listing = []
    for path in files:
        stat = path.stat()
        is_json = path.suffix == ".json"
        listing.append([path.relative_to(folder).as_posix(), stat.st_size, 0 if is_json else stat.st_mtime_ns])
    content = [hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.suffix == ".json"]
    return fingerprint(listing=listing, content=content)


def check_capture_name(name: str) -> str:
    """Return the name if it can serve as a file name.

    Raises:
        ValueError: it holds other characters than letters, digits, ``.``, ``_``, ``-``, or starts with ``.`` or ``-``.
    """
    if not CAPTURE_NAME.fullmatch(name):
        raise ValueError(
            f"capture name {name!r} cannot be used: rename its folder to letters, digits, '.', '_' and '-' "
            "(neither '.' nor '-' in front)"
        )
    return name


@dataclass(frozen=True)
class Codec(Generic[T]):
    """How a dataclass is kept in a safetensors file.

    Attributes:
        encode: value to named arrays and a JSON object.
        decode: the way back; raises KeyError or ValueError where the file does not hold such a value.
    """

    encode: Callable[[T], tuple[dict[str, Array], dict[str, Any]]]
    decode: Callable[[dict[str, Array], dict[str, Any]], T]


def load(path: Path, mark: str | None, codec: Codec[T]) -> T | None:
    """Read an artefact; None where there is none with fingerprint `mark`, or it is damaged (which is logged).

    With None for the mark it is read whatever it was made from.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
            if mark is not None and header.get("fingerprint") != mark:
                return None
            arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return codec.decode(arrays, json.loads(header["content"]))
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        logger.warning("%s is damaged (%s) and counts as missing", path, error)
        return None


def save(path: Path, mark: str, codec: Codec[T], value: T) -> None:
    """Write an artefact with its fingerprint."""
    arrays, content = codec.encode(value)
    header = {"fingerprint": mark, "content": json.dumps(content, allow_nan=False)}
    with replaced(path) as draft:
        save_file({key: np.ascontiguousarray(array) for key, array in arrays.items()}, draft, header)


def cached(path: Path, mark: str, codec: Codec[T], compute: Callable[[], T]) -> T:
    """The artefact at `path` if it has fingerprint `mark`; otherwise it is computed and written.

    What is returned was read from the file in both cases, so that a continued run gets the very same numbers.

    Raises:
        OSError: the file cannot be read again after writing.
    """
    value = load(path, mark, codec)
    if value is None:
        save(path, mark, codec, compute())
        value = load(path, mark, codec)
    if value is None:
        raise OSError(f"{path} cannot be read again after writing: is the disk full or broken?")
    return value


def _encode_mesh(mesh: Mesh) -> tuple[dict[str, Array], dict[str, Any]]:
    return {"vertices": mesh.vertices, "faces": mesh.faces}, {}


def _decode_mesh(arrays: dict[str, Array], content: dict[str, Any]) -> Mesh:
    return Mesh(arrays["vertices"], arrays["faces"])


def _encode_surface(surface: Surface) -> tuple[dict[str, Array], dict[str, Any]]:
    arrays = {key: getattr(surface, key) for key in ("features", "valid", "visible_views", "up")}
    return {**arrays, **_encode_mesh(surface.mesh)[0]}, {"name": surface.name}


def _decode_surface(arrays: dict[str, Array], content: dict[str, Any]) -> Surface:
    mesh = _decode_mesh(arrays, content)
    fields = {key: arrays[key] for key in ("features", "valid", "visible_views", "up")}
    return Surface(content["name"], mesh, **fields)


def _encode_pair(pair: PairAlignment) -> tuple[dict[str, Array], dict[str, Any]]:
    arrays = {key: getattr(pair, key) for key in ("scores", "geometry", "appearance")}
    return {**arrays, "a_T_b": np.stack([T.matrix for T in pair.a_T_b])}, {"a": pair.a, "b": pair.b}


def _decode_pair(arrays: dict[str, Array], content: dict[str, Any]) -> PairAlignment:
    a_T_b = tuple(Sim3.from_matrix(matrix) for matrix in arrays["a_T_b"])
    return PairAlignment(content["a"], content["b"], a_T_b, arrays["scores"], arrays["geometry"], arrays["appearance"])


MESH = Codec(_encode_mesh, _decode_mesh)
SURFACE = Codec(_encode_surface, _decode_surface)
PAIR = Codec(_encode_pair, _decode_pair)


@dataclass(frozen=True)
class RunRecord:
    """What a run works on: the content of run.json.

    Attributes:
        category: name of the category.
        captures_folder: where the captures are.
        captures: names of those that take part.
        backbone: ``NAME`` or ``NAME:WEIGHTS``.
        settings: stage name to settings, as JSON.
    """

    category: str
    captures_folder: Path
    captures: tuple[str, ...]
    backbone: str
    settings: dict[str, Any]


@dataclass(frozen=True, eq=False)
class AlignmentRecord:
    """The content of alignment.json.

    Attributes:
        alignment: where every capture lies.
        failed: captures that could not be used at all, with the reason.
        mark: fingerprint of settings and backbone.
        template_sha256: digest of the template.ply that was made with it.
        symmetry: of the category, in obj.
        inputs: fingerprints of the captures that were looked at, the failed ones included.
        founders: captures that were there when obj was fixed; the feature basis is theirs.
        axes_by_hand: whether a person chose front or up.
    """

    alignment: Alignment
    failed: dict[str, str]
    mark: str = ""
    template_sha256: str = ""
    symmetry: Symmetry = field(default_factory=Symmetry.none)
    inputs: dict[str, str] = field(default_factory=dict)
    founders: tuple[str, ...] = ()
    axes_by_hand: bool = False

    @property
    def digest(self) -> str:
        """Fingerprint of what it says, changes made by hand included."""
        captures = {
            name: [entry.obj_T_world.matrix.tolist(), entry.accepted] for name, entry in self.alignment.captures.items()
        }
        turns = {} if self.symmetry.fold == 1 else {"symmetry": [self.symmetry.axis.tolist(), self.symmetry.fold]}
        return fingerprint(captures=captures, template=self.template_sha256, **turns)


class Run:
    """A run directory."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read or written yet."""
        self.folder = Path(folder).absolute()
        self.record_path = self.folder / "run.json"
        self.basis = self.folder / "2_basis.safetensors"
        self.alignment = self.folder / "alignment.json"
        self.template = self.folder / "template.ply"
        self.training = self.folder / "5_training"
        self.model = self.folder / "model.safetensors"
        self.pictures = self.folder / "pictures"
        self.report = self.folder / "report.html"
        self.timings = self.folder / "timings.json"
        self.evaluation = self.folder / "evaluation"

    def mesh(self, capture: str) -> Path:
        """Where the coarse mesh of a capture is kept."""
        return self.folder / "1_meshes" / f"{check_capture_name(capture)}.safetensors"

    def surface(self, capture: str) -> Path:
        """Where the surface of a capture is kept."""
        return self.folder / "3_surfaces" / f"{check_capture_name(capture)}.safetensors"

    def pair(self, a: str, b: str) -> Path:
        """Where the alignment of two captures is kept."""
        return self.folder / "4_pairs" / f"{check_capture_name(a)}+{check_capture_name(b)}.safetensors"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the run, and remove what a killed one left half-written.

        Raises:
            FileExistsError: the folder holds something else than a run.
            BlockingIOError: another process is at work here.
        """
        self._check_free()
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(
                    f"{self.folder}: another uop3d is at work in this run; wait for it or choose another folder"
                ) from None
            remove_drafts(self.folder)
            yield

    def _check_free(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f"{self.folder} is a file; a run is a folder")
        if self.folder.is_dir() and not self.record_path.is_file():
            parts = {"1_meshes", "3_surfaces", "4_pairs", *(p.name for p in vars(self).values() if p != self.folder)}
            strange = [p.name for p in self.folder.iterdir() if p.name not in parts and not p.name.startswith(".")]
            if strange:
                raise FileExistsError(
                    f"{self.folder} is not a run (it has no run.json, but {sorted(strange)[0]}): choose another folder"
                )

    def write_record(self, record: RunRecord) -> None:
        """Write run.json."""
        content = {
            "format": FORMAT,
            "category": record.category,
            "captures_folder": str(record.captures_folder),
            "captures": list(record.captures),
            "backbone": record.backbone,
            "settings": record.settings,
        }
        write_json(self.record_path, content)

    def read_record(self) -> RunRecord:
        """Read run.json.

        Raises:
            FileNotFoundError: this is no run.
            ValueError: the file is damaged or of another version.
        """
        if not self.record_path.is_file():
            raise FileNotFoundError(
                f"{self.folder} is not a run, it has no run.json: make one with uop3d learn or uop3d align"
            )
        content = read_json_object(self.record_path)
        if content.get("format") != FORMAT:
            raise ValueError(
                f"{self.record_path}: format {content.get('format')!r}, but this version of uop3d reads {FORMAT}: "
                "learn again in a new folder"
            )
        try:
            names = tuple(check_capture_name(name) for name in content["captures"])
            folder = Path(content["captures_folder"])
            return RunRecord(content["category"], folder, names, content["backbone"], dict(content["settings"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{self.record_path} is damaged ({error!r}): run uop3d align again") from error

    def write_alignment(self, record: AlignmentRecord, template: Template | None = None) -> AlignmentRecord:
        """Write template.ply, unless it stays as it is, and alignment.json, which knows the digest of the former.

        Returns:
            The record with that digest and the template's symmetry.
        """
        if template is not None:
            ply = trimesh.Trimesh(template.mesh.vertices, template.mesh.faces, process=False).export(file_type="ply")
            assert isinstance(ply, bytes)
            write_bytes(self.template, ply)
            record = replace(record, template_sha256=hashlib.sha256(ply).hexdigest(), symmetry=template.symmetry)
        captures = {
            name: {
                "obj_T_world": entry.obj_T_world.matrix.tolist(),
                "score": entry.score,
                "accepted": entry.accepted,
                "reason": entry.reason,
                "probability": entry.probability,
            }
            for name, entry in record.alignment.captures.items()
        }
        content = {
            "version": FORMAT,
            "category": record.alignment.category,
            "reference": record.alignment.reference,
            "captures": captures,
            "failed": record.failed,
            "warnings": list(record.alignment.warnings),
            "symmetry": {"axis": record.symmetry.axis.tolist(), "fold": record.symmetry.fold},
            "axes": BY_HAND if record.axes_by_hand else "found",
            "fingerprint": record.mark,
            "template_sha256": record.template_sha256,
            "inputs": record.inputs,
            "founders": list(record.founders),
        }
        write_json(self.alignment, content)
        return record

    def read_alignment(self) -> AlignmentRecord:
        """Read alignment.json.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is damaged; the message says where.
        """
        if not self.alignment.is_file():
            raise FileNotFoundError(f"{self.alignment}: no such file; run uop3d align first")
        return parse_alignment(read_json_object(self.alignment), self.alignment)

    def read_template(self, record: AlignmentRecord) -> Template:
        """Read template.ply (float32, as written).

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it is damaged, or not the one that was made with the alignment.
        """
        if not self.template.is_file():
            raise FileNotFoundError(f"{self.template}: no such file; run uop3d align again")
        content = self.template.read_bytes()
        if record.template_sha256 and hashlib.sha256(content).hexdigest() != record.template_sha256:
            raise ValueError(
                f"{self.template} is damaged or was not made with {self.alignment.name}: run uop3d align again"
            )
        loaded: Any = trimesh.load_mesh(self.template, process=False)
        return Template(record.alignment.category, Mesh(loaded.vertices, loaded.faces), record.symmetry)


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not valid JSON ({error})") from error


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, or no object.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise ValueError(f"{path}: must hold a JSON object, not {type(content).__name__}")
    return content


def parse_alignment(content: Mapping[str, Any], where: Path) -> AlignmentRecord:
    """Check the content of an alignment.json.

    Raises:
        ValueError: something is missing or malformed; the message names it.
    """
    entries = content.get("captures")
    if not isinstance(entries, dict) or not entries:
        raise ValueError(f'{where}: "captures" must be an object with at least one capture')
    captures = {name: _parse_capture(entry, f"{where}: capture {name}") for name, entry in entries.items()}
    reference = content.get("reference") or max(captures, key=lambda name: captures[name].score)
    if reference not in captures:
        raise ValueError(f"{where}: the reference {reference!r} is none of the captures {', '.join(captures)}")
    failed, inputs = (_parse_texts(content.get(key, {}), f'{where}: "{key}"') for key in ("failed", "inputs"))
    warnings, founders = content.get("warnings", []), content.get("founders", [])
    if not isinstance(warnings, list) or not isinstance(founders, list):
        raise ValueError(f'{where}: "warnings" and "founders" must be lists')
    if not inputs.keys() >= set(founders):
        raise ValueError(f'{where}: every one of "founders" must have its fingerprint in "inputs"')
    alignment = Alignment(str(content.get("category", "")), str(reference), captures, tuple(map(str, warnings)))
    mark, sha256 = (str(content.get(key, "")) for key in ("fingerprint", "template_sha256"))
    symmetry = _parse_symmetry(content.get("symmetry"), f'{where}: "symmetry"')
    by_hand = content.get("axes") == BY_HAND
    return AlignmentRecord(alignment, failed, mark, sha256, symmetry, inputs, tuple(founders), by_hand)


def _parse_texts(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"{where} must be an object of texts by capture")
    return {str(name): str(text) for name, text in value.items()}


def _parse_symmetry(value: Any, where: str) -> Symmetry:
    if value is None:
        return Symmetry.none()
    try:
        return Symmetry(np.array(value["axis"], dtype=np.float64), int(value["fold"]))
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(f"{where} must have an axis and a fold ({error})") from error


def _parse_capture(entry: Any, where: str) -> CaptureAlignment:
    if not isinstance(entry, dict) or not {"obj_T_world", "score", "accepted"} <= entry.keys():
        raise ValueError(f"{where} must have obj_T_world, score and accepted")
    if not isinstance(entry["accepted"], bool) or isinstance(entry["score"], bool):
        raise ValueError(f"{where}: accepted must be true or false, and score a number")
    reason, probability = str(entry.get("reason", "")), entry.get("probability")
    try:
        obj_T_world = Sim3.from_matrix(np.array(entry["obj_T_world"], dtype=np.float64))
        probability = None if probability is None else float(probability)
        return CaptureAlignment(obj_T_world, float(entry["score"]), entry["accepted"], reason, probability)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def pair_generator(seed: int, names: Sequence[str]) -> np.random.Generator:
    """Random generator that depends on the seed and the names alone, not on the order of the work."""
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, np.uint32).tolist()])
