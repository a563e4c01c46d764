"""Cards say what the facts say, and nothing in a name can break them."""

import re
from dataclasses import replace

import pytest
import yaml
from shared_models import REPORT, trained

from uop3d_core.sharing.card import model_card
from uop3d_core.sharing.facts import model_facts, with_figures


@pytest.fixture
def facts(tmp_path):
    return model_facts(trained(tmp_path / "model.safetensors"))


def header_of(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_everything_is_on_it(facts):
    card = model_card([with_figures(facts, REPORT, "r")], "Apache-2.0")
    for text in (
        "| 50 | 96.0 % | 90.0 % | 80.0 % | 4.2° | 1 |",
        "by up to 10%",
        "Modulo the symmetry 98.0 %",
        "turns by 90° about (0.00, 0.00, 1.00)",
        "2 captures, 26 frames",
        "| licence of the data | not stated |",
        "| licence of the image features | Apache-2.0 |",
        facts.files[0].sha256,
        'PoseEstimator.load("model.safetensors")',
        "Scores are not calibrated",
    ):
        assert text in card
    assert header_of(card)["license"] == "apache-2.0" and "mug" in header_of(card)["tags"]


def test_what_is_not_known_is_said(facts):
    card = model_card([replace(facts, captures=tuple(f"c{i}" for i in range(99)), calibrated_on=120)])
    assert "not evaluated with labels" in card and "and 69 more" in card
    assert "calibrated on 120 trials of mug\\_b" in card
    assert "license" not in header_of(card)
    assert header_of(model_card([facts], "as the photographer likes"))["license_name"] == "as the photographer likes"


def test_the_python_on_it_is_python(facts):
    for each in (facts, replace(facts, weights="w.safetensors")):
        [code] = re.findall(r"```python\n(.*?)```", model_card([each]), re.DOTALL)
        compile(code, "card", "exec")
    assert "backbone_spec='hog:PATH/w.safetensors'" in code


def test_names_stay_names(facts):
    nasty = 'a|b\n<script>alert(1)</script> "x": [y] ![z](http://x)'
    card = model_card([replace(facts, category=nasty, captures=(nasty,), data_licence=nasty)])
    assert header_of(card)["tags"][-1] == nasty.replace("\n", " ")
    assert "<script>" not in card.split("---\n", 2)[2] and "![z](" not in card.split("---\n", 2)[2]
    for line in card.splitlines():
        if line.startswith("| trained on"):
            assert len(re.findall(r"(?<!\\)\|", line)) == 3


def test_one_category_a_card(facts):
    with pytest.raises(ValueError, match="one category, got car, mug"):
        model_card([facts, replace(facts, category="car")])
    with pytest.raises(ValueError, match="got none"):
        model_card([])
