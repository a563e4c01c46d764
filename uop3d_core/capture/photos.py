"""A folder of photos to pictures.

In: image files, turned as their EXIF data says, of any sizes, grey or in colour, with or without transparency. Out:
`Pictures`, with the files in the capture's folder of images. Transparent pixels are a mask that came with the photo.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from uop3d_core.capture.gravity import up_of_photo
from uop3d_core.capture.pictures import (
    Picture,
    Pictures,
    movement,
    scaled_down,
    sharp_enough,
    small_grey,
    write_picture,
)
from uop3d_core.config import FrameSettings
from uop3d_core.geometry import Array
from uop3d_core.progress import Progress, silent

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".ppm")
FILM_DIAGONAL_MM = 43.27
"""Of 35 mm film, in whose terms phones state focal lengths."""
BACKDROP = 128
"""Grey level put behind what is transparent."""


def photo_files(folder: Path) -> list[Path]:
    """Image files in a folder, sorted by name; hidden ones, links that lead out and sub-folders are not looked at."""
    found = [path for path in folder.iterdir() if path.suffix.lower() in ENDINGS and not path.name.startswith(".")]
    inside = folder.resolve()
    return sorted(path for path in found if path.is_file() and path.resolve().is_relative_to(inside))


def pictures_of_folder(
    folder: Path, out: Path, settings: FrameSettings, masks: Path | None = None, progress: Progress = silent
) -> Pictures:
    """Take over photos: upright, scaled down, as JPEG files in `out`/images.

    Args:
        folder: of the photos.
        out: folder of the capture.
        settings: how many and how large.
        masks: folder of given masks, white on the object, with the names of the photos; None where there are none.
        progress: told of every photo.

    Raises:
        ValueError: there are too few photos, one of them cannot be read, or a mask does not fit.
    """
    files = photo_files(folder)
    if len(files) < 3:
        raise ValueError(
            f"{folder}: {len(files)} photos here (of {', '.join(ENDINGS)}); take 20 or more from all around the object"
        )
    taken, notes = _evenly(files, settings.count), []
    if len(taken) < len(files):
        notes.append(f"{len(taken)} of {len(files)} photos are used (--set frames.count)")
    chosen: list[Picture] = []
    last: Array | None = None
    twice = 0
    progress("photos", 0, len(taken))
    for index, path in enumerate(taken):
        image, mask, focal, up = _read(path)
        image, factor = scaled_down(image, settings.size)
        grey = small_grey(image)
        if last is None or last.shape != grey.shape or movement(last, grey) > 0.002:
            focal = None if focal is None else focal * factor
            picture = Picture(f"{len(chosen):04d}", path.name, 0, 0, 0.0, focal, up)
            chosen.append(write_picture(out, picture, image, _mask(path, masks, mask, image)))
            last = grey
        else:
            twice += 1
        progress("photos", index + 1, len(taken))
    if twice:
        notes.append(f"{twice} photos were left out because they show the same as the one before")
    kept = _without_blurred(chosen, out, settings.blur)
    if len(kept) < len(chosen):
        names = ", ".join(picture.source for picture in chosen if picture not in kept)
        notes.append(f"blurred photos were left out: {names}")
    return Pictures(tuple(kept), False, tuple(notes))


def _without_blurred(chosen: list[Picture], out: Path, share: float) -> list[Picture]:
    """The sharp ones; the files of the others are removed."""
    sharp = sharp_enough([picture.sharpness for picture in chosen], share)
    for picture in (picture for picture, good in zip(chosen, sharp, strict=True) if not good):
        (out / "images" / picture.file).unlink()
        (out / "given" / f"{picture.name}.png").unlink(missing_ok=True)
    return [picture for picture, good in zip(chosen, sharp, strict=True) if good]


def _evenly(files: list[Path], count: int) -> list[Path]:
    return [files[i] for i in np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int))]


def _read(path: Path) -> tuple[Array, Array | None, float | None, tuple[float, float, float] | None]:
    """Pixels (H, W, 3); mask (H, W) of what is not transparent, focal length in pixels, direction up, or None."""
    try:
        with Image.open(path) as photo:
            focal, up = _focal(photo), up_of_photo(photo)
            upright = ImageOps.exif_transpose(photo)
            alpha = (
                np.array(upright.convert("RGBA"))[..., 3]
                if "A" in upright.getbands() or photo.info.get("transparency") is not None
                else None
            )
            image = _rgb(upright)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path}: not a readable image ({error}); replace or remove it") from error
    told = None if up is None else (float(up[0]), float(up[1]), float(up[2]))
    if alpha is None or alpha.min() >= 128 or alpha.max() < 128:
        return image, None, focal, told
    solid = alpha >= 128
    image[~solid] = BACKDROP
    return image, solid, focal, told


def _rgb(photo: Image.Image) -> Array:
    """(H, W, 3) uint8; 16-bit grey is scaled to 8 bits."""
    if photo.mode.startswith("I"):
        values = np.array(photo).astype(np.float64)
        grey = np.clip(values / max(float(values.max()), 1.0) * 255, 0, 255).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    return np.array(photo.convert("RGB"))


def _focal(photo: Image.Image) -> float | None:
    """Focal length in pixels, from the one that EXIF states in terms of 35 mm film."""
    film = photo.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.FocalLengthIn35mmFilm)
    try:
        millimetres = float(film) if film is not None else 0.0
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return float(np.hypot(*photo.size)) * millimetres / FILM_DIAGONAL_MM if 5 <= millimetres <= 1000 else None


def _mask(path: Path, masks: Path | None, own: Array | None, image: Array) -> Array | None:
    """The mask of a photo at the size of its image."""
    from uop3d_core.images import read_mask

    if masks is not None:
        file = masks / f"{path.stem}.png"
        if not file.is_file():
            raise FileNotFoundError(f"{file}: no mask of {path.name}; masks are PNG files with the names of the photos")
        own = read_mask(file)
    if own is None:
        return None
    resized = scaled_to(own, (image.shape[1], image.shape[0]), path)
    return resized


def scaled_to(mask: Array, size: tuple[int, int], path: Path) -> Array:
    """A mask (H, W) at another size (width, height) of the same proportions.

    Raises:
        ValueError: the proportions differ.
    """
    import cv2

    if abs(mask.shape[1] / mask.shape[0] - size[0] / size[1]) > 0.02 * size[0] / size[1]:
        raise ValueError(f"the mask of {path} is {mask.shape[1]} x {mask.shape[0]}: not the proportions of its image")
    return cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=cv2.INTER_AREA) >= 128
