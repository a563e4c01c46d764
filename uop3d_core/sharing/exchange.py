"""Models handed on: put on a shelf with a card and digests, and taken from one with every byte checked.

In: model files and a `Shelf`. Out: a folder there or here: the model, README.md, SHA256SUMS. Only formats that hold
data are taken (safetensors, ONNX, OpenVINO), and nothing in them is run.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from uop3d_core.atomic import replaced_when_complete
from uop3d_core.progress import Progress, silent
from uop3d_core.sharing.card import model_card
from uop3d_core.sharing.facts import ModelFacts, file_facts, model_facts, model_files, with_figures, without_folders
from uop3d_core.sharing.shelves import Shelf

CARD, SUMS = "README.md", "SHA256SUMS"
ENDINGS = (".safetensors", ".onnx", ".xml", ".bin")
OPENED = (".safetensors", ".onnx", ".xml")
"""Endings of files that `read_model` takes; a .bin belongs to an .xml."""
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")
MOST_SUMS, MOST_FILES, MOST_BYTES = 10_000, 20, 8_000_000_000


@dataclass(frozen=True)
class Pulled:
    """What `pull` brought.

    Attributes:
        models: the model files.
        sha256: digests by file name, which the files have.
    """

    models: tuple[Path, ...]
    sha256: Mapping[str, str]


def push(
    models: Sequence[Path],
    shelf: Shelf,
    *,
    licence: str | None = None,
    figures: tuple[Mapping[str, Any], str] | None = None,
) -> str:
    """Put models of one category on a shelf, with a card and digests.

    A trained model is shared without the folder that its backbone's weights are in on this machine.

    Args:
        models: files, a trained one and exported ones of it.
        shelf: where to.
        licence: of the model, for the card.
        figures: a report of ``uop3d evaluate pose`` and its name, for the card; by default those in the model.

    Returns:
        Where they are now.

    Raises:
        FileNotFoundError, ValueError, ImportError: a model cannot be read, they are of several categories, or have
            names that cannot be shared.
        OSError: the shelf cannot be written.
    """
    if not models:
        raise ValueError("there is no model to push")
    with TemporaryDirectory(prefix="uop3d-push-") as scratch:
        folder, facts = Path(scratch), []
        ordered = sorted(models, key=lambda path: path.suffix.lower() != ".safetensors")
        for path in ordered:
            facts.append(_stage(path, folder))
        if figures is not None:
            facts = [with_figures(each, *figures) for each in facts]
        (folder / CARD).write_text(model_card(facts, licence), encoding="utf-8")
        digests = {file.name: file.sha256 for each in facts for file in each.files}
        digests[CARD] = file_facts(folder / CARD).sha256
        (folder / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in digests.items()))
        files = {name: folder / name for name in (*digests, SUMS)}
        return shelf.put(files, f"uop3d model of {facts[0].category}")


def _stage(path: Path, folder: Path) -> ModelFacts:
    """Copy a model's files into the folder, as they are to be shared."""
    if path.suffix.lower() not in OPENED:
        raise ValueError(f"{path}: a model file ends in {', '.join(OPENED)}")
    for file in model_files(path):
        if not NAME.fullmatch(file.name):
            raise ValueError(f"{file}: rename it to letters, digits, '.', '_' and '-'")
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no such model file")
        if (folder / file.name).exists():
            raise ValueError(f"two of the files are called {file.name}: rename one")
        shutil.copyfile(file, folder / file.name)
    if path.suffix.lower() == ".safetensors":
        _forget_folder(folder / path.name)
    return model_facts(folder / path.name)


def _forget_folder(path: Path) -> None:
    """Leave the name of the backbone's weights in a trained model, and not where they are on this machine."""
    from uop3d_core.correspondence.checkpoint import load_model, save_model

    model = load_model(path)
    if without_folders(model) != model.backbone_spec:
        save_model(path, replace(model, backbone_spec=without_folders(model)))


def pull(shelf: Shelf, out_folder: Path, *, sha256: str | None = None, progress: Progress = silent) -> Pulled:
    """Take a model from a shelf; the folder appears when all of it is there and checked, or not at all.

    The digests lie beside the files, so they show damage. Against somebody who changes both, give `sha256` as you
    got it another way.

    Args:
        shelf: where from.
        out_folder: a new or empty folder.
        sha256: of one of the model files, as expected.
        progress: is told "files".

    Raises:
        FileNotFoundError: nothing is there.
        FileExistsError: `out_folder` is not empty.
        ValueError: this is no shared model, a file is of another kind or damaged, or not the one expected.
        OSError: the shelf cannot be reached.
    """
    if sha256 is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise ValueError(f"{sha256}: a SHA-256 digest has 64 hexadecimal digits")
    with replaced_when_complete(out_folder) as folder:
        try:
            shelf.get(SUMS, MOST_SUMS, folder / SUMS)
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; a model that uop3d push has put there has {SUMS}") from error
        digests = _read_sums(folder / SUMS, shelf.where)
        if sha256 is not None and sha256.lower() not in (d for name, d in digests.items() if name != CARD):
            raise ValueError(
                f"{shelf.where}: no model file in it has the digest {sha256}: it is not the one you expect"
            )
        for done, (name, digest) in enumerate(digests.items()):
            progress("files", done, len(digests))
            shelf.get(name, MOST_BYTES, folder / name)
            found = file_facts(folder / name).sha256
            if found != digest:
                raise ValueError(
                    f"{shelf.where}: {name} is damaged or was changed: its digest is {found}, {SUMS} says {digest}"
                )
        progress("files", len(digests), len(digests))
    models = tuple(out_folder / name for name in digests if Path(name).suffix.lower() in OPENED)
    return Pulled(models, digests)


def _read_sums(path: Path, where: str) -> dict[str, str]:
    """Digests by name; only names and kinds of files that a shared model has."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{where}: {SUMS} is not text") from error
    digests: dict[str, str] = {}
    for line in lines:
        match = LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"{where}: {SUMS} has a line that is no digest with a name: {line[:100]!r}")
        digest, name = match.groups()
        if name != CARD and not (NAME.fullmatch(name) and Path(name).suffix.lower() in ENDINGS):
            raise ValueError(f"{where}: {SUMS} names {name[:100]!r}, which is no file of a model: it is not taken")
        if name in digests:
            raise ValueError(f"{where}: {SUMS} names {name} twice")
        digests[name] = digest
    if not any(Path(name).suffix.lower() in OPENED for name in digests) or len(digests) > MOST_FILES:
        raise ValueError(f"{where}: {SUMS} names {len(digests)} files, which do not make a shared model")
    return digests
