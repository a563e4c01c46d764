"""Settings: defaults are valid, mistakes are named."""

import pytest
from pydantic import Field, ValidationError

from uop3d_core import config
from uop3d_core.config import PairSettings, Settings, SurfaceSettings, parse_settings

ALL = [
    cls for cls in vars(config).values() if isinstance(cls, type) and issubclass(cls, Settings) and cls is not Settings
]


@pytest.mark.parametrize("cls", ALL)
def test_defaults_are_valid_and_described(cls):
    values = cls().model_dump()
    assert values and parse_settings(cls, values, "defaults") == cls()
    nested = {name for name, field in cls.model_fields.items() if isinstance(field.default, Settings)}
    assert [n for n, field in cls.model_fields.items() if not field.description and n not in nested] == []


@pytest.mark.parametrize("cls", ALL)
def test_frozen(cls):
    settings = cls()
    with pytest.raises(ValidationError, match="frozen"):
        setattr(settings, next(iter(cls.model_fields)), 1)


@pytest.mark.parametrize(("typo", "meant"), [("vertces", "vertices"), ("views", "views_per_vertex"), ("cell", "cells")])
def test_unknown_key_names_the_nearest(typo, meant):
    message = rf"run\.json: unknown setting '{typo}', did you mean '{meant}'\? \(known: vertices, resolution"
    with pytest.raises(ValueError, match=message):
        parse_settings(SurfaceSettings, {typo: 3}, "run.json")


def test_unknown_key_in_a_nested_section():
    class Both(Settings):
        pair: PairSettings = Field(PairSettings(), description="pairs")

    with pytest.raises(ValueError, match=r"unknown setting 'pair\.mode', did you mean 'modes'"):
        parse_settings(Both, {"pair": {"mode": 3}}, "run.json")


@pytest.mark.parametrize(
    ("cls", "key", "value"),
    [
        (SurfaceSettings, "vertices", 49),
        (SurfaceSettings, "vertices", 5001),
        (SurfaceSettings, "mask_tolerance", 0.5),
        (SurfaceSettings, "mask_tolerance", -0.01),
        (SurfaceSettings, "point_share", 0),
        (SurfaceSettings, "margin", float("nan")),
        (SurfaceSettings, "margin", float("inf")),
        (SurfaceSettings, "cells", 28.5),
        (SurfaceSettings, "cells", "many"),
        (SurfaceSettings, "cells", None),
        (PairSettings, "cycle_temperature", 0),
        (PairSettings, "scale_range", 1),
        (PairSettings, "mode_angle_deg", 181),
    ],
)
def test_values_out_of_range_are_named(cls, key, value):
    with pytest.raises(ValueError, match=rf"somewhere: {key} = "):
        parse_settings(cls, {key: value}, "somewhere")


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ValueError, match="vertices = 1.*; .*unknown setting 'colour'"):
        parse_settings(SurfaceSettings, {"vertices": 1, "colour": 2}, "x")


def test_values_are_taken():
    settings = parse_settings(SurfaceSettings, {"vertices": 300, "margin": 2}, "x")
    assert (settings.vertices, settings.margin, settings.cells) == (300, 2.0, SurfaceSettings().cells)
