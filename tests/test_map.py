"""draw_map.py: what it reads out of embeddings, its table, and its page, also in a real browser."""

import json
import operator
import os
import re
import shutil

import literal_map
import numpy as np
import pytest
from test_report_precocity import Measured

import corpus
import draw_map
from report import map_data, map_page, page, precocity_tables

ODD = ['</script><script>alert("1")</script>', "Tom & Jerry's <b>&amp; co</b>", "a\u2028b\u2029c <!-- d", "Café Ñandú"]
SIDES = {"earlier": operator.lt, "later": operator.gt}


class Embedded:
    """Embeddings of 30 documents in 12 years, 1 to 4 passages each, and their metadata, whose titles are odd."""

    def __init__(self, folder):
        self.folder, self.metadata = folder / "embeddings", folder / "metadata.tsv"
        dice = np.random.default_rng(0)
        self.years = [1900 + i * 12 // 30 for i in range(30)]
        self.titles = [*ODD, *(f"Title {i}" for i in range(len(ODD), 30))]
        self.authors = ["Ann  Lee; B. Ray" if i % 3 == 0 else f"b. ray;C{i}" if i % 3 == 1 else "" for i in range(30)]
        self.vectors = [dice.normal(size=(1 + i % 4, 6)).astype(np.float32) for i in range(30)]
        rows = zip(self.years, self.titles, self.authors)
        lines = [f"d{i:02d}\t{year}\t{title}\t{author}\n" for i, (year, title, author) in enumerate(rows)]
        self.metadata.write_text("paperId\tyear\ttitle\tauthor\n" + "".join(lines))
        self.folder.mkdir()
        for decade in (1900, 1910):
            some = [i for i, year in enumerate(self.years) if corpus.decade_of(year) == decade]
            names = [f"d{i:02d}" for i in some for _ in self.vectors[i]]
            numbers = [number for i in some for number in range(len(self.vectors[i]))]
            corpus.write_embeddings(self.folder / f"{decade}.parquet", names, numbers,
                                    np.concatenate([self.vectors[i] for i in some]))  # fmt: skip

    def read(self, most=1000, seed=0):
        return map_data.read_folder(str(self.folder), str(self.metadata), most, seed)

    def map(self, **changed) -> map_page.Map:
        """Return the map, documents in rows of five; precocity is not known of the last two."""
        documents, passages = self.read()
        earlier, later, _ = map_data.nearest_of_all(documents)
        places = np.array([[i % 5, i // 5] for i in range(30)], dtype=float)
        values = {
            "precocity": [*np.linspace(-0.1, 0.1, 28).tolist(), None, None],
            "places": places,
            "passage_places": places[passages.document] + 0.2,
        }
        return map_page.Map(
            documents, passages, self.titles, self.authors, earlier=earlier, later=later, **values | changed
        )


@pytest.fixture
def embedded(tmp_path):
    return Embedded(tmp_path)


def test_a_document_is_the_mean_of_its_passages_directions(embedded):
    documents, passages = embedded.read()
    assert documents.paper_ids == [f"d{i:02d}" for i in range(30)] and documents.years.tolist() == embedded.years
    expected = [literal_map.mean_direction(vectors.tolist()) for vectors in embedded.vectors]
    assert documents.vectors == pytest.approx(np.array(expected), abs=1e-6)
    assert documents.passages.tolist() == [len(vectors) for vectors in embedded.vectors]
    rows = [(i, number) for i, vectors in enumerate(embedded.vectors) for number in range(len(vectors))]
    assert list(zip(passages.document, passages.number)) == rows
    own = [literal_map.direction(embedded.vectors[i][number].tolist()) for i, number in rows]
    assert passages.vectors == pytest.approx(np.array(own), abs=1e-6)


def test_of_many_passages_some_are_drawn_each_with_the_same_chance(embedded):
    total, drawn = sum(map(len, embedded.vectors)), {}
    for seed in range(40):
        _, passages = embedded.read(20, seed)
        rows = list(zip(passages.document.tolist(), passages.number.tolist()))
        assert len(set(rows)) == 20 and rows == sorted(rows)
        for row in rows:
            drawn[row] = drawn.get(row, 0) + 1
    assert len(drawn) == total
    off = np.array(list(drawn.values())) - 40 * 20 / total
    assert np.square(off).sum() / (40 * 20 / total * (1 - 20 / total)) < 1.7 * total  # chi-squared
    assert len(embedded.read(0)[1].number) == 0
    again = embedded.read(20, 39)[1]
    assert all((one == other).all() for one, other in zip(again, passages))


@pytest.mark.parametrize("block", [1, 2, 512])
def test_the_nearest_are_those_of_a_slow_search(embedded, monkeypatch, block):
    monkeypatch.setattr(map_data, "BLOCK", block)
    documents, _ = embedded.read()
    vectors, years = documents.vectors.tolist(), embedded.years
    counts = [*SIDES.values(), lambda other, own: True]
    for nearest, counted in zip(map_data.nearest_of_all(documents), counts):
        for i in range(30):
            expected = literal_map.nearest(vectors, years, i, map_data.NEAREST, counted)
            there = nearest.ids[i] >= 0
            assert nearest.ids[i][there].tolist() == [other for other, _ in expected]
            assert nearest.cosines[i][there] == pytest.approx([cosine for _, cosine in expected], abs=1e-6)


def test_the_map_lies_across_the_page_and_time_runs_to_the_right():
    years = np.arange(1900, 1950)
    places = np.array([[np.sin(i), -3.0 * i] for i in range(50)])
    turned = (places - places.mean(axis=0)) @ map_data.turn_to_time(places, years)
    assert (np.diff(turned[:, 0]) > 0).all() and np.ptp(turned[:, 1]) < 3
    apart = [np.linalg.norm(found[0] - found[40]) for found in (places, turned)]
    assert apart[0] == pytest.approx(apart[1])


def test_the_table_has_what_embedding_atlas_reads(embedded, tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    shown = embedded.map()
    nearest = map_data.nearest_of_all(shown.documents)[2]
    map_data.write_table(tmp_path / "map.parquet", map_page.columns_of(shown), nearest)
    table = parquet.read_table(tmp_path / "map.parquet")
    kinds = {"title": pa.string(), "author": pa.string(), "year": pa.int64(), "precocity": pa.float64()}
    kinds |= {"x": pa.float64(), "y": pa.float64()}
    kinds["neighbors"] = pa.struct({"ids": pa.list_(pa.int64()), "distances": pa.list_(pa.float64())})
    assert {name: table.schema.field(name).type for name in kinds} == kinds
    assert table["title"].to_pylist() == embedded.titles and table["precocity"].null_count == 2
    for i, found in enumerate(table["neighbors"].to_pylist()):
        expected = literal_map.nearest(shown.documents.vectors.tolist(), embedded.years, i, 8, lambda other, own: True)
        assert found["ids"] == [other for other, _ in expected]
        assert found["distances"] == pytest.approx([1 - cosine for _, cosine in expected], abs=1e-6)


def test_odd_titles_come_back_whole_and_nothing_of_them_is_read_as_html(embedded):
    shown = embedded.map()
    html = page.render("map.html", title=shown.heading, data=map_page.data_of(shown), plotly="")
    assert html.count("<script") == html.count("</script>") == 3 and not set("\u2028\u2029") & set(html)
    data = json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', html)[1])
    assert data["title"] == embedded.titles and data["year"] == embedded.years
    assert [[data["names"][i].casefold() for i in of] for of in data["author"][:3]] == [
        ["ann lee", "b. ray"],
        ["b. ray", "c1"],
        [],
    ]
    assert not re.search(r'(src|href)="(?!data:)', html)


def test_the_still_map_names_documents_all_over_it(embedded, tmp_path):
    shown = embedded.map()
    named = map_page.landmarks(shown.places)
    assert len(named) == len(set(named)) == 25
    map_page.write_section(tmp_path / "section.html", map_page.draw_still(shown, tmp_path))
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"
    assert "<h2>A map of neighborhoods</h2>" in (tmp_path / "section.html").read_text()


def test_precocity_is_that_of_the_report(tmp_path):
    measured = Measured(tmp_path)
    rows = precocity_tables.read_rows(str(measured.metadata))
    found = draw_map.precocity_of(str(measured.folder), rows)
    measured.precocity.pop("39")  # has no value
    assert found == pytest.approx(measured.precocity)


def test_a_missing_package_or_too_few_documents_are_said_in_one_sentence(embedded, tmp_path, capsys, monkeypatch):
    flags = [str(embedded.folder), "-t", str(embedded.metadata), "-o", str(tmp_path / "map")]
    monkeypatch.setattr(draw_map, "PACKAGES", {"no-such-package": "no_such_module"})
    assert draw_map.main(flags) == 2
    assert "no-such-package is not installed; run make map" in capsys.readouterr().err
    monkeypatch.setattr(draw_map, "PACKAGES", {})
    embedded.metadata.write_text("paperId\tyear\nd00\t1900\nd01\t1900\nd02\t1900\n")
    assert draw_map.main(flags) == 2
    assert "a map needs at least 4" in capsys.readouterr().err


# ---------------------------------------------------------------- with the map's packages, in a real browser


def needed(what: str, there) -> None:
    """Skip a test where something is missing, or fail where MAP_TESTS says that all is there."""
    if not there:
        (pytest.fail if os.environ.get("MAP_TESTS") == "insist" else pytest.skip)(f"{what} is not installed")


def installed(module: str) -> bool:
    return draw_map.importlib.util.find_spec(module) is not None


@pytest.mark.slow
def test_everything_is_written_and_the_same_seed_gives_the_same_map(embedded, tmp_path, monkeypatch):
    monkeypatch.setenv("NUMBA_OPT", "0")  # of the ten seconds, most are its compiling
    needed("umap-learn", installed("umap"))
    needed("plotly", installed("plotly"))
    from pyarrow import parquet
    from umap import umap_

    flags = [str(embedded.folder), "-t", str(embedded.metadata), "--passages", "40"]
    asked = []  # by what cosines UMAP compares passages with documents: a function of its own takes minutes
    compare = umap_.pairwise_distances
    monkeypatch.setattr(
        umap_, "pairwise_distances", lambda *a, metric: asked.append(metric) or compare(*a, metric=metric)
    )
    assert draw_map.main([*flags, "-o", str(tmp_path / "one")]) == 0
    assert asked[-1] == "cosine"
    names = {"map.html", "map.parquet", "map.png", "map.json", "section.html"}
    assert {path.name for path in (tmp_path / "one").iterdir()} == names
    assert draw_map.main([*flags, "-o", str(tmp_path / "other")]) == 0
    one, other = (parquet.read_table(tmp_path / name / "map.parquet") for name in ("one", "other"))
    assert one.equals(other) and np.isfinite(one["x"].to_numpy()).all()
    html = (tmp_path / "one/map.html").read_text()
    assert html == (tmp_path / "other/map.html").read_text() and '"all_passages":73' in html.replace(" ", "")


class Browser:
    """Chromium with the map open."""

    def __init__(self, path, flags):
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = shutil.which("chromium")
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1200,800", *flags):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(shutil.which("chromedriver")))
        self.driver.set_script_timeout(60)
        self.driver.get(path.as_uri())
        self.settled()

    def run(self, script: str, *words):
        return self.driver.execute_script(script, *words)

    def settled(self) -> None:
        """Wait until the map has been drawn and nothing more is waiting to be."""
        self.driver.execute_async_script(
            "const done = arguments[0], map = document.getElementById('map');"
            "const look = () => map.dataset.drawn && !waiting ? done() : setTimeout(look, 20); look();"
        )
        self.driver.execute_async_script("requestAnimationFrame(() => setTimeout(arguments[0], 100))")

    def find(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        return self.run("return [...document.querySelectorAll(arguments[0])].map(e => e.textContent)", selector)

    def go_to(self, document: int, click: bool = False) -> None:
        """Move the mouse to a document's point, and click on it."""
        from selenium.webdriver.common.action_chains import ActionChains

        x, y = self.run(
            "const map = document.getElementById('map'), box = map.getBoundingClientRect(), all = map._fullLayout;"
            "return [box.left + all.xaxis._offset + all.xaxis.l2p(data.x[arguments[0]]),"
            "        box.top + all.yaxis._offset + all.yaxis.l2p(data.y[arguments[0]])]", document)  # fmt: skip
        mouse = ActionChains(self.driver, duration=0)
        mouse.w3c_actions.pointer_action.move_to_location(int(x), int(y) + 1).move_to_location(int(x), int(y))
        if click:
            mouse.w3c_actions.pointer_action.click()
        mouse.perform()
        self.settled()

    def drawn(self, name: str) -> list[int]:
        """Return the documents of a named layer of the map."""
        layers = self.run("return document.getElementById('map').data.filter(t => t.name === arguments[0])"
                          ".map(t => [...t.customdata])", name)  # fmt: skip
        return [document for layer in layers for document in layer]


@pytest.fixture
def browser(request, embedded, tmp_path):
    needed("plotly", installed("plotly"))
    needed("selenium", installed("selenium"))
    for command in ("chromium", "chromedriver"):
        needed(command, shutil.which(command))
    map_page.write_map(tmp_path / "map.html", embedded.map())
    opened = Browser(tmp_path / "map.html", request.param)
    yield opened
    opened.driver.quit()


WEBGL, NO_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader"), ("--disable-gpu", "--disable-3d-apis")


@pytest.mark.slow
@pytest.mark.parametrize("browser", [WEBGL, NO_WEBGL], indirect=True, ids=["webgl", "no webgl"])
def test_a_reader_points_clicks_searches_and_slides(browser, embedded, request):
    from selenium.webdriver.common.keys import Keys

    assert browser.run("return KIND") == ("scatter" if "no webgl" in request.node.name else "scattergl")
    browser.go_to(1)
    assert browser.texts("#tip") == [ODD[1] + "1900 (B. Ray; C1)"]

    browser.go_to(12, click=True)
    assert browser.texts("#chosen h2")[0] == "Title 12" and browser.drawn("chosen") == [12]
    vectors = embedded.map().documents.vectors.tolist()
    for side, counts in SIDES.items():
        expected = literal_map.nearest(vectors, embedded.years, 12, 8, counts)
        assert browser.texts(f"#{side} .title") == [embedded.titles[other] for other, _ in expected]
        rows = browser.texts(f"#{side} li")
        assert ["same author" in row for row in rows] == [other % 3 != 2 for other, _ in expected]  # Ann Lee or B. Ray
        assert browser.texts(f"#{side} span:first-child")[0].split()[0] == f"{expected[0][1]:.2f}"
    first = browser.find("#earlier button")[0]
    document = int(first.get_attribute("data-document"))
    first.click()
    browser.settled()
    assert browser.texts("#chosen h2")[0] == embedded.titles[document] and browser.drawn("chosen") == [document]

    browser.find("#find")[0].send_keys("nandu CAFE")
    browser.settled()
    assert browser.texts("#found .title") == [ODD[3]] and browser.drawn("found") == [3]
    browser.find("#find")[0].send_keys(Keys.ENTER)
    browser.settled()
    assert browser.drawn("chosen") == [3]

    browser.find("#from")[0].send_keys(Keys.ARROW_RIGHT * 4)
    browser.find("#to")[0].send_keys(Keys.ARROW_LEFT)
    browser.settled()
    assert browser.texts("#years") == ["1904 – 1910"]
    inside = [i for i, year in enumerate(embedded.years) if 1904 <= year <= 1910]
    assert browser.drawn("documents") == inside and browser.drawn("found") == []

    for choice in ("precocity", "author"):
        browser.find(f"#color option[value={choice}]")[0].click()
        browser.find("#passages")[0].click()
        browser.settled()
    assert browser.texts("#legend .swatch + span")[:2] == ["Ann Lee", "B. Ray"]
    assert [entry for entry in browser.driver.get_log("browser") if entry["level"] == "SEVERE"] == []
