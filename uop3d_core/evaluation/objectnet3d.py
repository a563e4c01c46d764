"""ObjectNet3D: which images of a category are tested on, and their labels.

In: the dataset's folder (Annotations, CAD, Image_sets, Images). Out: LabelledImages.
Protocol of the reference method: the images of the set `test`; of each image the first object whose focal length is not
0; it belongs to the category if that object does. Where the fine angles are missing the coarse ones count. Occluded,
truncated and difficult objects stay in.
"""

from __future__ import annotations

from pathlib import Path

from uop3d_core.evaluation.mat_records import AnnotatedObject, UnreadableRecord, read_record
from uop3d_core.evaluation.viewpoints import LabelledImage, LabelledImages, image_list, inside
from uop3d_core.progress import Progress, silent


def read_objectnet3d(root: Path, category: str, subset: str = "test", progress: Progress = silent) -> LabelledImages:
    """Read the annotations of a set and keep those of one category.

    Args:
        root: the folder ObjectNet3D.
        category: the dataset's name of it, e.g. "car".
        subset: "train", "val", "trainval" or "test".
        progress: is told "annotations"; there are tens of thousands of them.

    Raises:
        FileNotFoundError: no such dataset.
        ValueError: no image shows the category; the message lists the categories that were seen.
    """
    root = Path(root).resolve()
    sets = root / "Image_sets"
    known = sorted(path.stem for path in sets.glob("*.txt"))
    about = f"there are {', '.join(known)}" if known else f"{root} is not the folder of ObjectNet3D"
    names = image_list(inside(sets, f"{subset}.txt"), about)
    images, skipped, others = [], {}, set()
    for done, name in enumerate(names):
        progress("annotations", done, len(names))
        try:
            record = read_record(inside(root, "Annotations", f"{name}.mat"))
        except UnreadableRecord as error:  # as the published protocol does with files that scipy cannot read
            skipped[name] = str(error)
            continue
        item = next((item for item in record.objects if _usable(item)), None)
        if item is None:
            if any(found.category == category for found in record.objects):
                skipped[name] = "no object has a focal length"
            continue
        others.add(item.category)
        if item.category != category:
            continue
        if not item.has_box:
            skipped[name] = "the box is empty"
            continue
        cad = inside(root, "CAD", "off", category, f"{item.cad:02d}.off")
        images.append(LabelledImage(name, inside(root, "Images", f"{name}.JPEG"), item, cad))
    progress("annotations", len(names), len(names))
    if not images:
        reason = f"; {len(skipped)} files were left out, the first: {next(iter(skipped.values()))}" if skipped else ""
        raise ValueError(
            f"{sets / subset}.txt: no image of {category!r}; there are {', '.join(sorted(others))}{reason}"
        )
    return LabelledImages(tuple(images), skipped)


def _usable(item: AnnotatedObject) -> bool:
    viewpoint = item.viewpoint
    return viewpoint is not None and viewpoint.focal * viewpoint.viewport > 0
