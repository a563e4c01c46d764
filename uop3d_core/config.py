"""Settings: one frozen, validated class per stage; an unknown key is an error that names the nearest known one."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any, TypeVar

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

    hypotheses: int = Field(1500, ge=10, le=100_000, description="sampled similarity hypotheses")
    cycle_temperature: float = Field(0.1, gt=0, description="a match weighs exp(-cycle distance / this), in diameters")
    appearance_share: float = Field(0.2, ge=0, le=1, description="weight of appearance against geometry in the score")
    scale_range: float = Field(1.5, gt=1, le=10, description="largest ratio of sizes once diameters are made equal")
    candidates: int = Field(24, ge=1, le=500, description="distinct hypotheses that are refined")
    modes: int = Field(5, ge=1, le=50, description="distinct alignments kept per pair")
    mode_angle_deg: float = Field(20.0, gt=0, le=180, description="closer rotations count as the same mode")
    iterations: int = Field(25, ge=0, le=500, description="refinement steps")
    field_resolution: int = Field(40, ge=16, le=128, description="lattice points of the signed distance fields")


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
