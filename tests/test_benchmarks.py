"""What measures tuning: its steps, and its figures on several corpora, as tables and pictures of many runs."""

import subprocess
import sys
from pathlib import Path

import across
import pytest


def test_a_difference_of_several_splits_says_in_how_many_it_is_certain():
    figures = [{"value": value, "interval": [low, high]} for value, low, high in [(0.1, 0.05, 0.2), (0.3, -0.1, 0.5)]]
    assert across.cell(figures, True) == "+0.200 (+0.100 to +0.300; 1 above 0)"
    assert across.cell(figures, False) == "0.200 (0.100 to 0.300)"
    assert across.cell([*figures, {"value": None, "interval": None}], True) == "–"


def test_a_picture_of_corpora_shows_yardsticks_and_models_also_with_normalized_means():
    yardsticks, models = ["base", "base, centered", "base, normalized means"], ["a", "a, normalized means", "b"]
    measured = dict.fromkeys([*yardsticks, *models, "a, centered", "words"])
    report = {"measured": measured, "differences": [{"of": "a"}, {"of": "a, normalized means"}, {"of": "b"}]}
    colors = across.colors_of(report)
    assert list(colors) == [*yardsticks, *models, "words"] and colors["a"] == colors["a, normalized means"]
    assert list(across.colors_of(report, ["b"])) == [*yardsticks, "b", "words"]
    base, model, other, words = (colors[name] for name in ("base", "a", "b", "words"))
    assert len({base, model, other, words}) == 4 and colors["base, normalized means"] == base


@pytest.mark.slow
def test_steps_of_tuning_are_timed_in_four_ways(tiny_encoder):
    script = Path(across.__file__).with_name("bench_tune.py")
    words = ["--model", str(tiny_encoder), "--tokens", "8", "16", "--batch-size", "4", "--steps", "3"]
    said = subprocess.run([sys.executable, script, *words], capture_output=True, text=True, check=True).stdout
    heads, _, *rows = (line.strip("| ").split(" | ") for line in said.splitlines()[2:])
    assert heads == ["tokens", "dropout, fused", "dropout, plain", "no dropout, fused", "no dropout, plain"]
    assert [row[0] for row in rows] == ["8", "16"] and all(len(row) == 5 and "(**1.00**)" in row[1] for row in rows)
