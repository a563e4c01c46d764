"""Small copies of PASCAL3D+ and ObjectNet3D with the structs that MATLAB saves there."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

WIDTH, HEIGHT = 320, 240
VIEWPOINT = {
    "azimuth_coarse": 330.0, "elevation_coarse": 0.0, "azimuth": 30.0, "elevation": 20.0, "distance": 5.0,
    "focal": 1.0, "px": 171.0, "py": 121.0, "theta": 5.0, "error": 12.5, "interval_azimuth": 2.0,
    "interval_elevation": 1.0, "num_anchor": 8.0, "viewport": 3000.0,
}  # fmt: skip
ANCHORS = {"left_front_wheel": {"location": np.array([120.0, 130.0]), "status": 1.0}}
EMPTY = np.zeros((0, 0))


def annotated(category: str = "car", viewpoint: dict | np.ndarray | None = None, **fields) -> dict:
    """One object as in the files; fields that are None are left out."""
    item = {
        "class": category, "view": "", "truncated": 0.0, "occluded": 0.0, "difficult": 0.0,
        "bbox": np.array([101.0, 81.0, 240.0, 160.0]), "cad_index": 2.0, "anchors": ANCHORS,
        "viewpoint": VIEWPOINT if viewpoint is None else viewpoint, **fields,
    }  # fmt: skip
    return {key: value for key, value in item.items() if value is not None}


def viewpoint(**changes) -> dict:
    """The usual viewpoint with changes; None leaves a field out."""
    return {key: value for key, value in {**VIEWPOINT, **changes}.items() if value is not None}


def save_record(path: Path, *objects: dict) -> None:
    """A struct record with a struct array of objects that have the same fields."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = list(dict.fromkeys(key for item in objects for key in item))
    array = np.zeros((1, len(objects)), dtype=[(field, object) for field in fields])
    for index, item in enumerate(objects):
        for field in fields:
            array[field][0, index] = item.get(field, EMPTY)
    size = {"width": float(WIDTH), "height": float(HEIGHT), "depth": 3.0}
    record = {
        "folder": "car", "filename": f"{path.stem}.JPEG", "source": {"database": "ImageNet"}, "size": size,
        "segmented": 0.0, "imgname": path.stem, "imgsize": np.array([WIDTH, HEIGHT, 3.0]), "database": "ImageNet",
        "objects": array,
    }  # fmt: skip
    savemat(path, {"record": record})


def save_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((HEIGHT, WIDTH, 3), np.uint8)).save(path, format="JPEG")


def save_cad(path: Path) -> None:
    """A box of 0.8 x 2 x 0.5 in cad: two long from front to back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    corners = [[x, y, z] for x in (-0.4, 0.4) for y in (-1, 1) for z in (-0.25, 0.25)]
    faces = ["3 0 1 2", "3 5 6 7"]
    lines = ["OFF", f"{len(corners)} {len(faces)} 0", *(" ".join(map(str, c)) for c in corners), *faces]
    path.write_text("\n".join(lines) + "\n")


def write_pascal3d(root: Path, records: dict[str, list[dict]], category: str = "car") -> Path:
    (root / "Image_sets").mkdir(parents=True)
    (root / "Image_sets" / f"{category}_imagenet_val.txt").write_text("\n".join(records) + "\n")
    for name, objects in records.items():
        save_record(root / "Annotations" / f"{category}_imagenet" / f"{name}.mat", *objects)
        save_image(root / "Images" / f"{category}_imagenet" / f"{name}.JPEG")
    save_cad(root / "CAD" / category / "02.off")
    return root


def write_objectnet3d(root: Path, records: dict[str, list[dict]]) -> Path:
    (root / "Image_sets").mkdir(parents=True)
    (root / "Image_sets" / "test.txt").write_text("\n".join(records) + "\n")
    for name, objects in records.items():
        save_record(root / "Annotations" / f"{name}.mat", *objects)
        save_image(root / "Images" / f"{name}.JPEG")
    save_cad(root / "CAD" / "off" / "car" / "02.off")
    return root
