"""PASCAL3D+ 1.1: which images of a category are tested on, and their labels.

In: the dataset's folder (Annotations, CAD, Image_sets, Images). Out: LabelledImages.
Protocol of the reference method: the ImageNet images of the set `val`; of each image the first object that has a
viewpoint; left out are images whose viewpoint has no distance, no focal length or a negative principal point, and those
without annotated keypoints. Occluded, truncated and difficult objects stay in.
"""

from __future__ import annotations

from pathlib import Path

from uop3d_core.evaluation.mat_records import AnnotatedObject, UnreadableRecord, read_record
from uop3d_core.evaluation.viewpoints import LabelledImage, LabelledImages, image_list, inside

SUFFIX = "_imagenet"
NEAREST = 0.01
SETS = ("train", "val")


def read_pascal3d(root: Path, category: str, subset: str = "val") -> LabelledImages:
    """Read the annotations of one category.

    Args:
        root: the folder PASCAL3D+_release1.1.
        category: aeroplane, bicycle, boat, bottle, bus, car, chair, diningtable, motorbike, sofa, train or tvmonitor.
        subset: "train" or "val".

    Raises:
        FileNotFoundError: no such dataset or category, or a file that it lists is missing.
        ValueError: no image is left; the message says why the first one was left out.
    """
    root = Path(root).resolve()
    sets = root / "Image_sets"
    ending = f"{SUFFIX}_{subset}.txt"
    known = sorted(path.name.removesuffix(ending) for path in sets.glob(f"*{ending}"))
    about = f"there are {', '.join(known)}" if known else f"{root} is not the folder of PASCAL3D+ release 1.1"
    names = image_list(inside(sets, f"{category}{ending}"), about)
    images, skipped = [], {}
    for name in names:
        try:
            record = read_record(inside(root, "Annotations", f"{category}{SUFFIX}", f"{name}.mat"))
        except UnreadableRecord as error:
            skipped[name] = str(error)
            continue
        labelled = [item for item in record.objects if item.viewpoint is not None]
        reason = _unusable(labelled[0], category) if labelled else "no object has a viewpoint"
        if reason:
            skipped[name] = reason
            continue
        image = inside(root, "Images", f"{category}{SUFFIX}", f"{name}.JPEG")
        cad = inside(root, "CAD", category, f"{labelled[0].cad:02d}.off")
        images.append(LabelledImage(name, image, labelled[0], cad))
    if not images:
        first = next(iter(skipped.items()))
        raise ValueError(
            f"{sets}: none of the {len(names)} images of {category} can be tested on; {first[0]}: {first[1]}"
        )
    return LabelledImages(tuple(images), skipped)


def _unusable(item: AnnotatedObject, category: str) -> str:
    """Why the protocol leaves an object out, or "" where it does not."""
    viewpoint = item.viewpoint
    assert viewpoint is not None, "the caller chose it so"
    reasons = {
        f"the first object is a {item.category}": item.category != category,
        "the principal point is negative": min(viewpoint.principal) < -1,
        "the distance is not annotated": viewpoint.distance < NEAREST,
        "the angles are coarse": not viewpoint.fine,
        "keypoints are not annotated": not item.anchors,
        "the focal length is 0": viewpoint.focal * viewpoint.viewport <= 0,
        "the box is empty": not item.has_box,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")
