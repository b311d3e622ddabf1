"""Why a document is ahead of its time: curves and nearest passages against Python loops, and what the page shows."""

import numpy as np
import pytest
from literal_explain import Literal
from test_precocity import Embedded, random_vectors

import corpus
import report_precocity
import script
from report import explain, explain_page, page, tsv
from report import precocity_tables as tables

SECRET = "xylophone"  # in every text, and in no title
STRICTEST = tables.Choice(0.1, "trainauthquote", 20)


class Corpus(Embedded):
    """The years 1884–1916 with two documents each, one of them by authors who return; 1900 is measured, and near."""

    def __init__(self, folder, kl=False):
        super().__init__(folder)
        dice = np.random.default_rng(5)
        for year in range(1884, 1917):
            for name in "ab" if year != 1905 else "":
                vectors = dice.dirichlet([1] * 6, size=7) if kl else random_vectors(dice, 7)
                self.add(f"{name}-{year}", year, vectors, author=f"author {name}; {year % 7}")
        near = self.passages["a-1900"]
        self.passages["a-1907"][2] = near[1]  # by the same author: barred, and the nearest otherwise
        quoting = np.add(near[2], 1e-4 * np.arange(6))
        self.passages["b-1904"][5] = list(quoting * sum(near[2]) / sum(quoting))  # a quotation: barred
        self.passages["b-1896"][0] = near[3]  # the nearest earlier
        self.write()
        self.authors_out = {("a-1900", f"a-{year}") for year in range(1884, 1917) if year != 1900}
        self.authors_out |= {("a-1900", f"b-{year}") for year in (1886, 1893, 1907, 1914)}
        self.quoted = ("a-1900", "b-1904", 5)
        quotes = self.file("quotes.tsv", [("a-1900", "b-1904-5")])
        assert self.run("-s", 1900, "-e", 1902, "--exclude-same-author", "-c", quotes, *["--distance", "kl"] * kl) == 0
        self.literal = Literal(self.documents, self.passages, {*self.authors_out, self.quoted}, kl)

    def explain(self, choice=STRICTEST, embeddings=None, document="a-1900"):
        wanted = self.values(choice).loc[[document]]
        inputs = explain.Inputs(str(self.metadata), embeddings, None)
        found, reasons = explain.explain_documents([tables.measured_in(self.out)], wanted, choice, inputs)
        return (found[0], wanted.loc[document]) if found else reasons

    def values(self, choice=STRICTEST):
        measured = tables.measured_in(self.out)
        return tables.documents_of(tables.read_tables([measured.table]), choice, tables.read_rows(str(self.metadata)))

    def write_texts(self):
        """Give every passage a text of two hundred words."""
        chunks = self.folder / "chunks"
        chunks.mkdir()
        for document, _ in self.documents:
            lines = [f"{n}\tPassage {n} of {document}. {f'{SECRET} ' * 200}\n" for n in self.passages[document]]
            (chunks / f"{document}.txt").write_text("".join(lines))
        return chunks

    def page(self, asked=(), embeddings=None, chunks=None):
        """Return the part of the page and the tables beside it."""
        inputs = explain.Inputs(str(self.metadata), embeddings, chunks and corpus.ChunkFolder(chunks))
        documents = self.values()
        wanted = explain.to_explain(documents, list(asked))
        explained, reasons = explain.explain_documents([tables.measured_in(self.out)], wanted, STRICTEST, inputs)
        html = explain_page.explanation(
            explained, reasons, documents, tables.read_rows(str(self.metadata)), self.folder
        )
        passages, curves = (self.folder / f"precocity_{name}.tsv" for name in ("passages", "curves"))
        return html, passages.read_text() + curves.read_text() if passages.exists() else ""


@pytest.fixture
def made(tmp_path):
    return Corpus(tmp_path)


def curve_of(one):
    return [None if np.isnan(value) else value for value in one.curve]


@pytest.mark.parametrize("kl", [False, True])
def test_curves_and_nearest_passages_are_those_of_plain_loops(tmp_path, monkeypatch, kl):
    made, offsets = Corpus(tmp_path, kl), np.array(explain.OFFSETS)
    for block, fraction, filtered, radius in ((4096, 0.1, "trainauthquote", 20), (3, 1.0, "no filter", 10)):
        monkeypatch.setattr(explain, "BLOCK", block)
        one, row = made.explain(tables.Choice(fraction, filtered, radius))
        expected = made.literal.curve("a-1900", fraction, filtered != "no filter")
        assert expected.count(None) > 8 and curve_of(one) == [
            x if x is None else pytest.approx(x, abs=3e-6) for x in expected
        ]
        halves = [np.nanmean(one.curve[(offsets * side > 0) & (abs(offsets) <= radius)]) for side in (1, -1)]
        assert halves[0] - halves[1] == pytest.approx(row.precocity, abs=1e-6)
        assert len(one.passages) == 6 and one.measure == ("divergence" if kl else "cosine")
        (shown,) = explain_page.explanations([one], made.values(tables.Choice(fraction, filtered, radius)), {})
        resembling = f"(mean {'divergence' if kl else 'similarity'} {abs(row.transience):.3f})"
        assert resembling in shown.reading and f" passage {one.passages[0].later[0].number}, " in str(shown.rows)
        for passage in one.passages:
            for side, found in ((-1, passage.earlier), (1, passage.later)):
                expected = made.literal.nearest("a-1900", passage.number, range(side, side * radius + side, side))
                assert [near[1:] for near in found] == [near[1:] for near in expected]
                assert [near[0] for near in found] == pytest.approx([near[0] for near in expected], abs=1e-6)


def test_passages_stand_at_either_end_in_the_order_of_their_precocity(made):
    from pyarrow import parquet

    one, _ = made.explain()
    table = parquet.read_table(made.out / "passages/1900.parquet").to_pandas()
    chosen = table[(table.paperId == "a-1900") & (table.fraction_compared == 0.1) & (table.time_radius == 20)]
    values = chosen[chosen.filtered == "trainauthquote"].set_index("chunknumber").precocity.sort_values()
    ahead, behind = list(values.index[::-1][:3]), list(values.index[:3])
    assert [(each.number, each.is_ahead) for each in one.passages] == [
        *((number, True) for number in ahead), *((number, False) for number in behind)
    ]  # fmt: skip
    assert one.passages[0].precocity == pytest.approx(values.max(), abs=1e-6)


def test_its_own_author_and_quotations_are_not_among_the_nearest(made):
    one, _ = made.explain()
    rows = list(explain_page.passage_rows([one], tables.read_rows(str(made.metadata))))
    assert len(rows) == 6 * 2 * 3 and list(rows[0])[-1] == "cosine"
    assert not {(row["docid"], row["near_docid"]) for row in rows} & made.authors_out
    assert not [row for row in rows if (row["near_docid"], row["near_passage"]) == made.quoted[1:]]
    source = explain.Source(tables.measured_in(made.out), explain.Inputs(str(made.metadata), None, None))
    center = explain.only(source.folder.year(1900), "a-1900")
    nothing = explain.Exclusions(set(), {}, {})
    ((_, later), (_, quoting)) = source.nearest(center, np.array([1, 2]), nothing, 20)
    assert later[0].document == "a-1907" and quoting[0][2:] == made.quoted[1:]  # which are near indeed
    assert source.left_out() == "documents by the same author, passages that quote"


@pytest.mark.slow
def test_no_text_leaves_the_corpus_unless_it_is_asked_for(made):
    chunks = made.write_texts()
    html, listed = made.page(["b-1901"])
    assert SECRET not in html + listed and "nearest earlier" in html and "b-1901" in listed
    assert html.count('<details class="document"') == 4 and "open><summary>b-1901" in html
    made.data.rename(made.folder / "moved")
    html, listed = made.page(embeddings=str(made.folder / "moved"), chunks=chunks)
    assert SECRET not in listed and SECRET in html
    shown = html.split("<summary>Passage ")[1:]
    assert shown and all(len(text.split("</summary>")[0]) <= 260 for text in shown)  # the rest is folded
    assert all(text.split("</details>")[0].count(SECRET) < 120 for text in shown)


def test_flags_that_cannot_be_met_are_one_sentence(made, capsys):
    flags = [str(made.out), "-t", str(made.metadata), "-o", str(made.folder / "r"), "--explain", "a-1884"]
    assert report_precocity.main(flags) == 2
    assert "--explain a-1884: no such document has precocity here" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        report_precocity.parse_args([*flags, "--show-text"])
    assert "--show-text needs -r/--rootfolder" in capsys.readouterr().err


def change_vectors(made):
    made.passages["b-1910"][0] = [9, 1, 1, 1, 1, 1]
    made.write()


def change_years(made):
    made.metadata.write_text(made.metadata.read_text().replace("b-1910\t1910", "b-1910\t1911"))


def change_quotes(made):
    (made.folder / "quotes.tsv").write_text("a-1900\tb-1904-6\n")


def strip_manifest(made):
    facts = script.read_json(made.out / corpus.MANIFEST)
    script.write_json(made.out / corpus.MANIFEST, {name: facts[name] for name in ("table", "years")})


CHANGED = "have changed since the precocity of 1900 was measured; run calc_precocity"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (change_vectors, CHANGED),
        (change_years, CHANGED),
        (change_quotes, CHANGED),
        (lambda made: (made.folder / "quotes.tsv").unlink(), "quotes.tsv: No such file or directory"),
        (lambda made: made.data.rename(made.folder / "moved"), "is not a folder; give the one that Apply_Tuned_Model"),
        (strip_manifest, "does not say how it was made"),
    ],
)
def test_a_table_whose_embeddings_are_not_those_of_before_is_not_explained_and_the_page_says_why(
    made, change, complaint, caplog
):
    change(made)
    html, listed = made.page()
    assert complaint in html and html.count("Not explained:") == 1 and "nearest earlier" not in html and listed == ""
    assert complaint in caplog.text


@pytest.mark.slow
def test_the_section_opens_with_its_answer_and_explains_its_ends(made):
    made.write_texts()
    flags = [str(made.out), "-t", str(made.metadata), "-o", str(made.folder / "r"), "-d", str(made.data)]
    assert report_precocity.main([*flags, "-r", str(made.folder / "chunks"), "--explain", "b-1901"]) == 0
    section = (made.folder / "r/section.html").read_text()
    parts = ["Furthest ahead of its time", "<img", "Why these documents?", "nearest earlier", "by decade"]
    assert [section.index(part) for part in parts] == sorted(section.index(part) for part in parts)
    assert {path.stem for path in (made.folder / "r").glob("*.png")} <= {
        path.stem for path in (made.folder / "r").glob("*.tsv")
    }
    assert all(SECRET not in path.read_text() for path in (made.folder / "r").glob("*.[thj]*"))


def test_a_table_turned_has_a_row_for_each_column():
    cell = page.Cell
    wide = page.Table(
        ["model", "one", "two"], [[cell("base"), cell("1"), cell("2")], [cell("tuned"), cell("3"), cell("4")]]
    )
    turned = wide.turned("measure")
    assert turned.headings == ["measure", "base", "tuned"]
    assert [[each.text for each in row] for row in turned.rows] == [["one", "1", "3"], ["two", "2", "4"]]


def test_a_table_for_people_has_short_numbers_no_tabs_and_no_formulas(tmp_path):
    rows = [
        {"name": "=a\tb", "value": np.float32(1 / 3), "year": np.int64(1900)},
        {"name": "b", "value": np.nan, "year": 1},
    ]
    tsv.write_tsv(tmp_path / "t.tsv", rows)
    assert (tmp_path / "t.tsv").read_text() == "name\tvalue\tyear\n'=a b\t0.333333\t1900\nb\t\t1\n"
