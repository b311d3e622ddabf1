"""What pictures make of titles and names: text, whatever it contains, in a font that has its characters."""

import matplotlib
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.ttLib.tables._g_l_y_f import Glyph
from matplotlib import font_manager
from matplotlib import pyplot as plt

from report import drawing, precocity_figures

LINEAR_A, SYLLABLE, HAN = "\U00010600", "\U00016800", "\u7d05"  # in no font that matplotlib brings


def drawn(tmp_path, title):
    """Draw a picture with this title, once in a title, once at an axis; return its title."""
    figure, axes = plt.subplots(figsize=(3, 2))
    axes.set_title(title)
    axes.set_yticks([0, 1], ["0", title])
    drawing.save(figure, tmp_path / "x.png", "", "")
    assert (tmp_path / "x.png").stat().st_size
    return axes.title


@pytest.fixture
def fonts(monkeypatch):
    """Return a list to which a test adds the paths of fonts that this machine then has beside matplotlib's own."""
    installed = []
    own = matplotlib.get_data_path()
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: list(installed))
    entries = [entry for entry in font_manager.fontManager.ttflist if entry.fname.startswith(own)]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", entries)
    caches = drawing.installed_fonts, drawing.having, drawing.tell_lacking
    for cache in caches:
        cache.cache_clear()
    yield installed
    for cache in caches:
        cache.cache_clear()


def make_font(path, name, characters):
    """Write a TrueType font that draws nothing for these characters."""
    font = FontBuilder(1000, isTTF=True)
    names = [".notdef", *(f"g{i}" for i in range(len(characters)))]
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord(c): glyph for c, glyph in zip(characters, names[1:])})
    font.setupGlyf({glyph: Glyph() for glyph in names})
    font.setupHorizontalMetrics({glyph: (500, 0) for glyph in names})
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": name, "styleName": "Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(path)
    return str(path)


@pytest.mark.parametrize("title", [r"From $\alpha to $\beta", "$", "$$ and $$", r"\$5 {and} $x^2$", "^_%# $1_ $2"])
def test_dollars_are_dollars(tmp_path, title):
    text = drawn(tmp_path, title)
    assert text._preprocess_math(title) == (title, False)  # what matplotlib draws, and that it is no formula


def test_names_that_begin_with_an_underscore_stay_in_the_legend():
    figure, axes = plt.subplots()
    axes.plot([0, 1], label=drawing.legend_name("_base"))
    assert [text.get_text().lstrip("\u200b") for text in axes.legend().get_texts()] == ["_base"]
    plt.close(figure)


def test_a_font_of_the_machine_is_taken_where_ours_lacks_a_script(tmp_path, fonts, caplog):
    fonts += [
        make_font(tmp_path / "a.ttf", "Aegean Test", LINEAR_A),
        make_font(tmp_path / "b.ttf", "Bamum Test", SYLLABLE + HAN),
        str(tmp_path / "broken.ttf"),
    ]
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    text = drawn(tmp_path, f"On {LINEAR_A}, {SYLLABLE}{HAN}")
    assert text.get_fontfamily()[1:] == ["Bamum Test", "Aegean Test"] and not caplog.text
    assert drawn(tmp_path, "Über die Dichtkunst, на русском").get_fontfamily() == plt.rcParams["font.family"]


@pytest.mark.parametrize(("characters", "package"), [(LINEAR_A, "fonts-noto-core"), (HAN, "fonts-noto-cjk")])
def test_a_script_that_no_font_has_is_said_in_one_sentence(tmp_path, fonts, caplog, characters, package):
    drawn(tmp_path, f"On {characters} and {characters}")
    (record,) = caplog.records
    assert f"1 characters are boxes ({characters}), because no font on this machine has them" in record.getMessage()
    assert f"the package {package}, and run again" in record.getMessage()


def test_characters_that_do_not_show_are_left_out_of_titles():
    assert precocity_figures.short("A\r\x1b[2K \u202etale\u200b\x85of") == "A [2K tale of"
