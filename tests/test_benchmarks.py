"""What measures tuning on several corpora: tables and pictures of many runs."""

import across


def test_a_difference_of_several_splits_says_in_how_many_it_is_certain():
    figures = [{"value": value, "interval": [low, high]} for value, low, high in [(0.1, 0.05, 0.2), (0.3, -0.1, 0.5)]]
    assert across.cell(figures, True) == "+0.200 (+0.100 to +0.300; 1 above 0)"
    assert across.cell(figures, False) == "0.200 (0.100 to 0.300)"
    assert across.cell([*figures, {"value": None, "interval": None}], True) == "–"


def test_a_picture_of_corpora_shows_yardsticks_and_models_as_they_are():
    measured = ["base", "base, centered", "base, normalized means", "a", "a, centered", "b", "words"]
    report = {"measured": dict.fromkeys(measured), "differences": [{"of": "a"}, {"of": "a"}, {"of": "b"}]}
    colors = across.colors_of(report)
    assert list(colors) == ["base", "base, centered", "base, normalized means", "a", "b", "words"]
    base, model, other, words = (colors[name] for name in ("base", "a", "b", "words"))
    assert len({base, model, other, words}) == 4 and colors["base, normalized means"] == base
