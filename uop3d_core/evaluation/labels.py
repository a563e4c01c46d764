"""Labels of a category: where each capture's object really lies.

In: a JSON file, ``{"category", "instances": {capture: {"canonical_T_world": 4x4 similarity}}, "symmetry",
"symmetry_group": {"axis": [x, y, z], "fold": n}, "inner_split": {"train": [...], "test": [...]}}``; all but "instances"
is optional, and other keys are ignored.
Out: Labels. The frame ``label`` is the canonical frame of the labels: x front, y left, z up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from uop3d_core.runs import read_json_object
from uop3d_core.types import Sim3, Symmetry


@dataclass(frozen=True, eq=False)
class Labels:
    """What is known to be true.

    Attributes:
        category: name, or "".
        label_T_world: by capture, from its world to the label frame.
        symmetry: remark on symmetries, for the reader.
        inner_split: "train" and "test" to names of captures; may be empty.
        symmetry_group: what the labels leave open, its axis in the label frame; fold 1 where nothing.
    """

    category: str
    label_T_world: dict[str, Sim3]
    symmetry: str = ""
    inner_split: dict[str, list[str]] = field(default_factory=dict)
    symmetry_group: Symmetry = field(default_factory=Symmetry.none)


def read_labels(path: Path) -> Labels:
    """Read a labels file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is not such a file, or holds something else than similarities.
    """
    content = read_json_object(path)
    instances = content.get("instances")
    if not isinstance(instances, dict) or not instances:
        raise ValueError(f'{path}: "instances" must be an object with one entry per labelled capture')
    label_T_world = {}
    for name, entry in instances.items():
        try:
            label_T_world[name] = Sim3.from_matrix(np.array(entry["canonical_T_world"], dtype=np.float64))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: instance {name}: canonical_T_world is no 4x4 similarity ({error!r})") from error
    split = content.get("inner_split", {})
    split = {key: list(names) for key, names in split.items()} if isinstance(split, dict) else {}
    symmetry = str(content.get("symmetry", ""))
    turns = content.get("symmetry_group")
    group = Symmetry.none() if turns is None else Symmetry.from_json(turns, f"{path}: symmetry_group")
    return Labels(str(content.get("category", "")), label_T_world, symmetry, split, group)
