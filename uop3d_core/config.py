"""Settings: one frozen, validated class per stage; an unknown key is an error that names the nearest known one."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Settings(BaseModel):
    """Base of all settings classes: immutable, no unknown keys, no NaN."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class SurfaceSettings(Settings):
    """Capture to coarse mesh with features."""

    vertices: int = Field(500, ge=50, le=5000, description="about how many vertices the coarse mesh has")
    resolution: int = Field(96, ge=24, le=176, description="lattice points along the object's longest side")
    mask_tolerance: float = Field(0.03, ge=0, lt=0.5, description="share of masks that may wrongly exclude a point")
    point_share: float = Field(0.6, gt=0, le=1, description="a 3-D point is kept if this share of masks covers it")
    cells: int = Field(28, ge=8, le=128, description="feature cells along the side of a crop")
    margin: float = Field(1.15, ge=1, le=3, description="side of a crop over the longer side of the mask's box")
    views_per_vertex: int = Field(16, ge=1, le=64, description="features kept per vertex")
    components: int = Field(128, ge=8, le=4096, description="feature channels kept, by principal components")


class PairSettings(Settings):
    """Similarity between two captures."""

    looks: int = Field(2, ge=1, le=64, description="typical looks that the views of a vertex are summed up by")
    hypotheses: int = Field(700, ge=10, le=100_000, description="sampled similarity hypotheses")
    cycle_temperature: float = Field(0.1, gt=0, description="a match weighs exp(-cycle distance / this), in diameters")
    appearance_share: float = Field(0.3, ge=0, le=1, description="weight of matches that all agree, against geometry")
    appearance_cutoff: float = Field(0.25, gt=0, description="matches farther apart cost no more, in diameters")
    scale_range: float = Field(1.5, gt=1, le=10, description="largest ratio of sizes once diameters are made equal")
    candidates: int = Field(32, ge=1, le=500, description="distinct hypotheses that are refined")
    modes: int = Field(5, ge=1, le=50, description="distinct alignments kept per pair")
    mode_angle_deg: float = Field(20.0, gt=0, le=180, description="closer rotations count as the same mode")
    iterations: int = Field(8, ge=0, le=500, description="refinement steps of the best")
    field_resolution: int = Field(30, ge=16, le=128, description="lattice points of the signed distance fields")


class GraphSettings(Settings):
    """Which pairs of captures are aligned."""

    all_pairs: int = Field(60, ge=2, le=10_000, description="all pairs up to so many captures, a sparse graph beyond")
    neighbours: float = Field(2.0, ge=0, le=100, description="most similar captures per capture, times ln(captures)")
    rings: int = Field(4, ge=1, le=20, description="random rings through all captures")
    added_pairs: int = Field(16, ge=1, le=1000, description="pairs per capture that is added to an aligned category")
    growth: float = Field(1.0, ge=0, le=100, description="more new captures per accepted one: all are aligned afresh")

    def of_all(self) -> dict[str, Any]:
        """The settings that matter when all captures are aligned together."""
        return {name: getattr(self, name) for name in ("all_pairs", "neighbours", "rings")}


class JointSettings(Settings):
    """One frame for all captures."""

    robust_angle_deg: float = Field(15.0, gt=0, le=90, description="disagreement at which an edge loses its say")
    fine_angle_deg: float = Field(5.0, gt=0, le=90, description="the same in the last rounds")
    truncate_deg: float = Field(45.0, gt=0, le=180, description="larger disagreements all count the same")
    mode_scale: float = Field(0.003, gt=0, description="score difference that makes a mode e times less likely")
    unlisted: float = Field(0.05, gt=0, lt=1, description="likelihood at which no mode at all is as good as a mode")
    rounds: int = Field(20, ge=1, le=1000, description="averaging rounds in the end")
    starts: int = Field(8, ge=1, le=1000, description="captures tried as the first one")
    up_strength: float = Field(
        1.0, ge=0, le=100, description="say of the images' up beside all pairs together, were both equally precise"
    )
    min_agreement: float = Field(0.4, ge=0, le=1, description="captures that agree less with the others are rejected")
    min_standing: float = Field(
        0.45, ge=0, le=1, description="captures with less than this share of the usual likely and close fits as well"
    )


class SymmetrySettings(Settings):
    """Rotations that bring the category's objects onto themselves."""

    captures: int = Field(8, ge=3, le=100, description="captures that are compared, each with each")
    shape_excess: float = Field(
        0.1, ge=0, le=10, description="turned pairs may fit worse by this share, error included"
    )
    own_change: float = Field(0.4, ge=0, le=10, description="and differ from themselves by this share of the usual")
    looks_change: float = Field(0.1, ge=0, le=1, description="and lose this share of their resemblance, error excluded")


class TemplateSettings(Settings):
    """The category's shape."""

    vertices: int = Field(700, ge=50, le=5000, description="about how many vertices the template has")
    resolution: int = Field(96, ge=24, le=176, description="lattice points along the template's longest side")
    bend_widths: tuple[float, ...] = Field(
        (0.3, 0.2, 0.12, 0.08, 0.05, 0.05),
        description="widths of the displacements that carry the reference onto a capture, in diameters",
    )


class TrainSettings(Settings):
    """Dense image-to-template correspondences with keypoints beside them, either alone, or the rotation itself."""

    head: Literal["hybrid", "dense", "keypoints", "quaternion", "rotation6d", "rotation9d"] = Field(
        "hybrid",
        description="what the network says: dense: which point every pixel shows; keypoints: where points lie; "
        "hybrid: both; else the rotation itself",
    )
    cells: int = Field(24, ge=8, le=128, description="feature cells along the side of a crop")
    margin: float = Field(1.25, ge=1, le=3, description="side of a crop over the longer side of the object's box")
    variants: int = Field(8, ge=1, le=200, description="augmented crops made of every frame, and cached")
    components: int = Field(256, ge=8, le=4096, description="backbone channels kept, by principal components")
    width: int = Field(192, ge=16, le=2048, description="channels of the head")
    blocks: int = Field(4, ge=0, le=32, description="residual blocks of the head")
    embedding: int = Field(128, ge=8, le=1024, description="dimension of pixel and vertex embeddings")
    clutter: int = Field(8, ge=1, le=256, description="embeddings that stand for background")
    context_dropout: float = Field(0.3, ge=0, lt=1, description="dropout on the global context of the crop")
    keypoints: int = Field(32, ge=8, le=256, description="points of the template that are looked for, if the head does")
    temperature: float = Field(0.07, gt=0, le=10, description="softmax temperature of the contrastive loss")
    neighbourhood: float = Field(0.12, gt=0, le=1, description="radius of the local soft-argmax, in object units")
    offset_weight: float = Field(5.0, ge=0, le=1000, description="weight of the error of points, in object units")
    epochs: int = Field(10, ge=1, le=10_000, description="passes over all cached crops")
    rehearsal: float = Field(
        0.6, ge=0, le=10, description="share of the epochs for a training without some captures, to calibrate; 0: none"
    )
    batch: int = Field(16, ge=1, le=1024, description="crops per step")
    pixels_per_crop: int = Field(192, ge=16, le=65_536, description="supervised pixels drawn per crop and step")
    learning_rate: float = Field(4e-3, gt=0, le=1, description="peak of the one-cycle schedule")
    weight_decay: float = Field(0.02, ge=0, le=10, description="decoupled weight decay")
    shift: float = Field(0.1, ge=0, le=0.5, description="largest shift of a training crop, in sides of the box")
    zoom: float = Field(0.2, ge=0, le=0.9, description="largest relative change of a training crop's side")
    roll_deg: float = Field(10.0, ge=0, le=180, description="largest rotation of a training crop in its plane")
    synthesis: float = Field(0.7, ge=0, le=1, description="share of training crops seen as by another camera")
    turn_deg: float = Field(15.0, ge=0, le=60, description="largest angle between that camera and the real one")
    stretch: float = Field(0.12, ge=0, le=0.9, description="largest change of the object's proportions in them")
    occlusion: float = Field(0.3, ge=0, le=1, description="share of training crops that get an occluder")
    background: float = Field(0.5, ge=0, le=1, description="share of training crops that get another background")
    texture: float = Field(0.3, ge=0, le=1, description="share of training crops whose object is painted over, lightly")
    colour: float = Field(0.3, ge=0, le=1, description="strength of brightness, contrast and colour changes")
    damage: float = Field(0.3, ge=0, le=1, description="share of training crops with little detail and with noise")
    seed: int = Field(0, ge=0, description="seed of everything random in training")

    @property
    def dense(self) -> bool:
        """Whether the network says what every pixel shows."""
        return self.head in ("hybrid", "dense")

    def crop_settings(self) -> dict[str, Any]:
        """The settings that shape the cached crops; the others can change without computing these again."""
        names = (
            *("cells", "margin", "variants", "components", "shift", "zoom", "roll_deg", "synthesis", "turn_deg"),
            *("stretch", "occlusion", "texture", "background", "colour", "damage", "seed"),
        )
        return {name: getattr(self, name) for name in names}

    def trunk_arguments(self) -> dict[str, Any]:
        """The settings that shape what all networks begin with."""
        return {name: getattr(self, name) for name in ("components", "width", "blocks", "context_dropout")}

    def network_arguments(self) -> dict[str, Any]:
        """The settings that shape the dense network."""
        own = {name: getattr(self, name) for name in ("embedding", "clutter", "temperature")}
        return self.trunk_arguments() | own


class PoseSettings(Settings):
    """Pose from correspondences."""

    foreground: float = Field(0.5, gt=0, lt=1, description="pixels less likely to be object are not used")
    max_correspondences: int = Field(1000, ge=8, le=100_000, description="most object pixels that are used")
    guided: int = Field(
        300, ge=8, le=100_000, description="object pixels that RANSAC and all but the last refinement use"
    )
    judged: int = Field(600, ge=8, le=100_000, description="pixels that poses are compared on")
    reprojection: float = Field(0.06, gt=0, le=1, description="inlier threshold, share of the box's longer side")
    iterations: int = Field(1000, ge=10, le=1_000_000, description="most RANSAC iterations")
    grid: int = Field(1000, ge=1, le=100_000, description="stored views of the template")
    refined: int = Field(8, ge=1, le=1000, description="distinct views that are refined")
    rounds: int = Field(2, ge=1, le=100, description="refinements, each guided by the one before")
    hypotheses: int = Field(4, ge=1, le=100, description="distinct poses that are kept")
    guide: float = Field(0.18, gt=0, le=2, description="radius in which a pose guides its pixels, in object units")
    keypoints: float = Field(0.5, ge=0, le=1000, description="weight of all keypoints over that of all pixels")
    misfit: float = Field(
        0.01, ge=0, le=10, description="share of agreement that a misfit of keypoints by a spread takes"
    )
    precision: Literal["auto", "full", "half"] = Field(
        "auto", description="arithmetic of the network: auto: float16 on GPUs; half: bfloat16 on CPUs as well"
    )


class TrackSettings(Settings):
    """Estimates of a video to objects that keep their identity."""

    min_score: float = Field(0.1, gt=0, lt=1, description="poses that score less update nothing and begin no track")
    duplicate_iou: float = Field(0.7, gt=0, le=1, description="boxes of a category that overlap more are one object")
    duplicate_distance: float = Field(0.25, ge=0, le=2, description="so are centres closer than this, in object units")
    min_iou: float = Field(0.3, gt=0, le=1, description="boxes that overlap more may be one object wherever poses are")
    gate: float = Field(0.999, gt=0.5, lt=1, description="share of right measurements that pass as right")
    hypothesis_share: float = Field(0.3, gt=0, le=1, description="hypotheses count from this share of the best one's")
    confirm_hits: int = Field(3, ge=1, le=1000, description="poses that confirm a track")
    replace_hits: int = Field(10, ge=2, le=1000, description="poses in a row that agree against a track replace it")
    tentative_s: float = Field(0.5, gt=0, le=60, description="unconfirmed tracks unseen for so long are dropped")
    lost_s: float = Field(1.0, gt=0, le=600, description="confirmed tracks unseen for so long are lost")
    forget_s: float = Field(5.0, gt=0, le=86_400, description="tracks unseen for so long are dropped")
    gap_s: float = Field(2.0, gt=0, le=86_400, description="a longer pause between images drops all tracks")
    lateral_std: float = Field(0.03, gt=0, le=10, description="error across the ray where unsaid, in object units")
    depth_std: float = Field(0.04, gt=0, le=10, description="error along the ray where unsaid, share of the distance")
    rotation_std_deg: float = Field(8.0, gt=0, le=180, description="rotation error per axis where unsaid")
    scale_std: float = Field(0.1, gt=0, le=10, description="relative error of the scale where unsaid")
    covariance_factor: float = Field(1.0, gt=0, le=1000, description="factor on the covariances that estimates bring")
    speed: float = Field(1.0, gt=0, le=1000, description="typical speed of new objects, object units per second")
    turn_deg: float = Field(45.0, gt=0, le=3600, description="typical turning of new objects per second")
    speed_change: float = Field(
        0.5, gt=0, le=1000, description="typical change of the speed in a second where the scale is unknown, in units"
    )
    speed_change_m: float = Field(0.1, gt=0, le=1000, description="the same where the scale is known, in metres")
    turn_change_deg: float = Field(30.0, gt=0, le=3600, description="typical change of the turning in a second")
    camera_change_deg: float = Field(20.0, ge=0, le=3600, description="the same of a camera whose motion is not given")
    scale_change: float = Field(0.01, ge=0, le=1, description="relative change of the scale in a second")


class ReplaySettings(Settings):
    """Messages of a recording that belong together."""

    slop_s: float = Field(0.01, ge=0, le=10, description="boxes belong to the image that is this near in time")
    depth_slop_s: float = Field(0.02, ge=0, le=10, description="so does depth")
    window: int = Field(16, ge=1, le=1000, description="images that are held back to bring them into order")
    jump_s: float = Field(0.5, gt=0, le=86_400, description="stamps that go back so far mean that time began anew")


class FrameSettings(Settings):
    """Which pictures of a video or folder make a capture."""

    count: int = Field(60, ge=8, le=1000, description="most pictures that are kept")
    size: int = Field(1280, ge=240, le=8192, description="longer sides are scaled down to this, in pixels")
    motion: float = Field(0.03, gt=0, le=1, description="least movement between pictures, share of the image's width")
    sampling: float = Field(10.0, gt=0, le=1000, description="frames of a video looked at per second")
    blur: float = Field(0.35, ge=0, lt=1, description="less sharp than this share of the usual is left out")


class CameraSettings(Settings):
    """Cameras by structure from motion."""

    features: int = Field(4096, ge=500, le=65_536, description="most features per picture")
    exhaustive: int = Field(36, ge=2, le=1000, description="all pairs are matched up to so many pictures")
    neighbours: int = Field(6, ge=1, le=1000, description="following pictures that each is matched with, beyond that")
    lookalikes: int = Field(8, ge=0, le=1000, description="and so many others that look the most alike")
    share: float = Field(0.9, gt=0, le=1, description="fewer pictures with a camera: it is tried in costlier ways")
    seed: int = Field(0, ge=0, description="seed of the random choices")
    threads: int = Field(0, ge=0, le=1024, description="threads; 0: one per core")


class MaskSettings(Settings):
    """Which pixels are the object."""

    pixels: int = Field(256, ge=64, le=2048, description="longer side of the crops that are cut into object and rest")
    voxels: int = Field(64, ge=24, le=160, description="lattice points along the longest side of the carved volume")
    rounds: int = Field(4, ge=1, le=20, description="times that pictures are cut and the volume is carved")
    tolerance: float = Field(0.15, ge=0, lt=0.5, description="share of pictures that may wrongly exclude a point")
    confidence: float = Field(0.75, ge=0, le=1, description="masks that agree less with the others are left out")


class QualitySettings(Settings):
    """What a capture must be like to be learned from."""

    frames: int = Field(12, ge=3, le=1000, description="least frames")
    registered: float = Field(0.6, ge=0, le=1, description="least share of the chosen pictures with a camera")
    error: float = Field(
        1.5, gt=0, le=100, description="largest mean reprojection error in pixels of a 1000-pixel image"
    )
    still: float = Field(0.85, ge=0, le=1, description="least share of the pairs of pictures in which nothing moved")
    around: float = Field(0.5, ge=0, le=1, description="least share of the directions around the object seen from")
    masks: float = Field(0.6, ge=0, le=1, description="least share of the pictures with a mask that can be trusted")
    area: float = Field(0.01, ge=0, le=1, description="least share of the image that the object fills, in the median")
    cut: float = Field(0.3, ge=0, le=1, description="largest share of the pictures whose border cuts the object")
    blur: float = Field(0.3, ge=0, le=1, description="largest share of blurred pictures")
    scale: float = Field(4.0, gt=1, le=100, description="largest ratio of the distances of the cameras")


class CaptureSettings(Settings):
    """Video or photos to capture."""

    frames: FrameSettings = FrameSettings()
    cameras: CameraSettings = CameraSettings()
    masks: MaskSettings = MaskSettings()
    quality: QualitySettings = QualitySettings()


class PictureSettings(Settings):
    """Figures for papers."""

    width_mm: float = Field(180.0, ge=20, le=1000, description="width in print")
    dpi: int = Field(300, ge=50, le=1200, description="pixels per inch in print")
    columns: int = Field(4, ge=1, le=20, description="pictures beside each other")
    frames: int = Field(8, ge=1, le=100, description="pictures at most, evenly chosen")
    crop: bool = Field(False, description="squares around the objects instead of whole images")
    fill: float = Field(
        0.2, ge=0, le=1, description="how much the template's surface covers; 0 draws its contour alone"
    )


class TurntableSettings(Settings):
    """Things that turn once about the vertical axis."""

    side: int = Field(480, ge=100, le=2000, description="pixels of the picture's longer side, about")
    seconds: float = Field(4.0, ge=0.5, le=60, description="of one turn")
    rate: int = Field(25, ge=5, le=50, description="pictures a second")
    captures: int = Field(20, ge=1, le=100, description="captures at most, rejected ones included")


class RunSettings(Settings):
    """Settings of all stages that lead to a model."""

    surface: SurfaceSettings = SurfaceSettings()
    pair: PairSettings = PairSettings()
    graph: GraphSettings = GraphSettings()
    joint: JointSettings = JointSettings()
    symmetry: SymmetrySettings = SymmetrySettings()
    template: TemplateSettings = TemplateSettings()
    train: TrainSettings = TrainSettings()


class InferenceSettings(Settings):
    """Settings of what a model is used for."""

    pose: PoseSettings = PoseSettings()
    track: TrackSettings = TrackSettings()
    replay: ReplaySettings = ReplaySettings()


SettingsT = TypeVar("SettingsT", bound=Settings)


def parse_settings(cls: type[SettingsT], values: Mapping[str, Any], where: str) -> SettingsT:
    """Build settings from a mapping.

    Args:
        cls: the settings class.
        values: keys and values, e.g. read from JSON.
        where: what to name in errors, e.g. the file.

    Raises:
        ValueError: unknown key (with the nearest known one), wrong type, or value out of range.
    """
    try:
        return cls.model_validate(dict(values))
    except ValidationError as error:
        lines = [_explain(cls, item) for item in error.errors()]
        raise ValueError(f"{where}: " + "; ".join(lines)) from error


def _explain(cls: type[Settings], item: Any) -> str:
    path = ".".join(str(part) for part in item["loc"])
    if item["type"] != "extra_forbidden":
        return f"{path} = {item.get('input')!r}: {item['msg']}"
    owner: Any = cls
    for part in item["loc"][:-1]:
        owner = owner.model_fields[part].annotation
    known = list(owner.model_fields)
    near = get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.0)
    return f"unknown setting {path!r}, did you mean {near[0]!r}? (known: {', '.join(known)})"
