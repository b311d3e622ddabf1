"""What precocity explains of an outcome beyond the date: report/regression.py and report/outcomes.py."""

import itertools

import literal_outcomes
import numpy as np
import pandas as pd
import pytest

from report import outcomes, outcomes_page, regression
from report.measures import document_draws
from report.outcomes import Asked, Measures, explain
from script import InputError

CHOICE = outcomes.Choice(1.0, "no filter", 20)
ASKED = Asked(["fame"], [], True, "author")


class Corpus:
    """Documents of several authors, whose precocity, novelty, and fame are as told; every fraction and share alike."""

    def __init__(self, documents=80, each=2, effect=0.0, seed=0):
        dice = np.random.default_rng(seed)
        self.docids = [f"{i:03d}" for i in range(documents)]
        self.years = pd.Series(dice.integers(1900, 1940, documents), index=self.docids)
        self.precocity, self.novelty = dice.normal(size=(2, documents))
        fame = effect * self.precocity + 0.02 * (self.years - 1920) + dice.normal(size=documents)
        self.rows = {
            docid: {"author": f"Author {i // each}", "fame": f"{fame[docid]:.4f}", "kind": "new" if i % 3 else "old"}
            for i, docid in enumerate(self.docids)
        }

    def table(self, shift=0.0):
        """Return rows as a precocity table has them; each fraction and share has values of its own."""
        rows = []
        for n, (share, fraction) in enumerate(itertools.product((1.0, 0.25), (1.0, 0.1, 0.05))):
            facts = {"filtered": "no filter", "time_radius": 20, "chunks_used": share, "fraction_compared": fraction}
            values = {"precocity": self.precocity + shift + n / 10 * self.novelty, "novelty": self.novelty}
            rows.append(pd.DataFrame({"docid": self.docids, **values, **facts}))
        return pd.concat(rows, ignore_index=True)

    def explain(self, asked=ASKED, **tables):
        measures = outcomes.measures_of(self.years, tables or {"tuned": [self.table()]}, CHOICE)
        return explain(asked, measures, self.rows)


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(outcomes, "DRAWS", 20)  # where intervals don't matter


def figure(found, name, share=1.0, fraction=1.0, of="tuned"):
    (one,) = [f for f in found if (f.figure, f.chunks_used, f.fraction_compared, f[1]) == (name, share, fraction, of)]
    return one


def design(linear=True, documents=60, authors=20, groups=False):
    dice = np.random.default_rng(5)
    outcome = dice.normal(1850, 20, documents) if not groups else (dice.random(documents) < 0.4).astype(float)
    author = np.concatenate([np.arange(authors), dice.integers(authors, size=documents - authors)])
    years = dice.integers(1900, 1930, documents)
    found = regression.Design(outcome, years, linear, author, document_draws(authors, 8, 0))
    return found, *(dice.normal(-3, 0.1, size=(2, documents)) + outcome / 500)


@pytest.mark.parametrize("linear", [True, False])
def test_the_regression_of_every_draw_is_that_of_textbooks(linear):
    one, precocity, novelty = design(linear)
    found = regression.regress(one, precocity, novelty)
    assert list(found)[2:] == ["precocity", "precocity²", "novelty", "date"][: 3 + linear]
    for draw, drawn in enumerate(one.draws):
        literal = literal_outcomes.regress(one, precocity, novelty, drawn[one.author])
        assert {name: values[draw] for name, values in found.items()} == pytest.approx(literal, abs=1e-8)


def test_the_comparison_of_groups_in_every_draw_is_that_of_textbooks():
    one, precocity, _ = design(groups=True)
    found = regression.compare_groups(one, precocity)
    for draw, drawn in enumerate(one.draws):
        literal = literal_outcomes.compare_groups(one, precocity, drawn[one.author])
        assert {name: values[draw] for name, values in found.items()} == pytest.approx(literal, abs=1e-8)


def test_two_groups_that_can_be_counted_by_hand():
    outcome, each = np.array([1.0, 1, 0, 0]), np.arange(4)
    one = regression.Design(outcome, np.full(4, 1900), True, each, np.ones((1, 4)))
    found = regression.compare_groups(one, np.array([3.0, 5, 0, 2]))
    assert {name: value.item() for name, value in found.items()} == pytest.approx(
        {"difference": 3, "t": 3 / 2**0.5, "d": 3 / 2**0.5}
    )


def interval_of(corpus, name):
    """Return value, low, and high of one figure, without the five other kinds that explain computes."""
    fame = outcomes.outcome_of("fame", corpus.rows, corpus.years.index)
    authors = outcomes.authors_of(fame.values.index, corpus.rows, "author")
    draws = regression.regress(outcomes.design_of(fame, corpus.years, authors, True), corpus.precocity, corpus.novelty)
    return outcomes.with_interval(name, draws[name])


def test_a_planted_effect_is_found():
    for seed in range(4):
        corpus = Corpus(160, effect=0.8, seed=seed)
        value, low, high = interval_of(corpus, "r_squared_beyond")
        assert 0 < low < value < high and 0.2 < value < 0.6 and interval_of(corpus, "precocity")[1] > 0.2
    found = figure(corpus.explain(), "r_squared_beyond")
    assert (found.value, found.low, found.high) == (value, low, high)
    assert (found.documents, found.authors) == (160, 80)


def test_where_there_is_no_effect_intervals_include_nought():
    corpora = [Corpus(seed=seed) for seed in range(12)]
    for name, most in (("r_squared_beyond", 1), ("precocity", 2)):
        found = [interval_of(corpus, name) for corpus in corpora]
        assert sum(not low <= 0 <= high for _, low, high in found) <= most
    assert all(0 <= low < value <= high for value, low, high in (interval_of(c, "r_squared_beyond") for c in corpora))


def test_of_percentiles_and_their_reflection_an_r_squared_has_the_cautious_ends():
    uniform = np.linspace(0, 1, 999)  # percentiles 0.025 and 0.975
    for value, low, high in ((0.3, 0, 0.975), (0.49, 0.005, 0.975), (0.6, 0.025, 1.175), (-2, 0, 0.975)):
        found = outcomes.with_interval("r_squared_beyond", np.append(value, uniform))
        assert found == pytest.approx((value, low, high))
        assert outcomes.with_interval("d", np.append(value, uniform)) == pytest.approx((value, 0.025, 0.975))
    assert outcomes.with_interval("t", np.append(np.nan, uniform))[0] is None
    assert outcomes.with_interval("t", np.append(0.5, uniform * np.nan)) == (0.5, None, None)


def test_the_bootstrap_draws_authors_and_not_documents():
    """Half of the documents are by one author, and only there do fame and precocity go together."""
    corpus = Corpus(120)
    for i, docid in enumerate(corpus.docids[:60]):
        corpus.rows[docid] |= {"author": " The  ONE" if i % 2 else "the one", "fame": f"{3 * corpus.precocity[i]}"}
    by_author = figure(corpus.explain(), "precocity")
    for docid in corpus.docids:
        corpus.rows[docid]["author"] = ""  # nobody knows: each document has an author of its own
    by_document = figure(corpus.explain(), "precocity")
    assert (by_author.authors, by_document.authors) == (31, 120)
    assert by_author.value == pytest.approx(by_document.value)
    assert by_author.high - by_author.low > 2 * (by_document.high - by_document.low)
    assert explain(ASKED._replace(author_column="none"), measures(corpus), corpus.rows)[2].authors == 120


def measures(corpus) -> Measures:
    return outcomes.measures_of(corpus.years, {"tuned": [corpus.table()]}, CHOICE)


def test_groups_are_compared_and_explained():
    corpus = Corpus(120)
    for i, docid in enumerate(corpus.docids):
        corpus.rows[docid]["kind"] = "old" if i % 10 == 0 else "new" if corpus.precocity[i] > 0 else "other"
    found = corpus.explain(Asked([], ["kind=new,old"], False, "author"))
    difference, d = figure(found, "difference"), figure(found, "d")
    assert difference.outcome == "kind: new against old" and 0 < difference.low < difference.high and d.low > 0.3
    assert figure(found, "r_squared_beyond").low > 0 and not [one for one in found if one.figure == "date"]
    assert difference.documents == sum(row["kind"] != "other" for row in corpus.rows.values())


def test_counts_with_a_long_tail_are_logged_and_nothing_else_is(caplog):
    caplog.set_level("INFO")
    corpus = Corpus()
    tail = [str(int(np.exp(i / 12))) for i in range(80)]
    births, half = [str(1800 + i) for i in range(80)], [f"{float(x) + 0.5}" for x in tail]
    below = [f"-{x}" for x in tail]
    labels = []
    for cells in (tail, births, half, below):
        for docid, cell in zip(corpus.docids, cells):
            corpus.rows[docid]["fame"] = cell
        labels.append(outcomes.outcome_of("fame", corpus.rows, corpus.years.index))
    assert [one.label for one in labels] == ["log(1 + fame)", "fame", "fame", "fame"]
    assert labels[0].values.iloc[-1] == pytest.approx(np.log1p(int(tail[-1])))
    assert "fame is taken as log(1 + fame)" in caplog.text


def test_several_tables_of_one_name_are_seeds_and_only_shared_documents_count(few_draws):
    corpus, other = Corpus(), Corpus(seed=1)
    part = other.table()
    part = part[~part.docid.isin(corpus.docids[:10])]
    found = corpus.explain(tuned=[corpus.table(), part], topics=[other.table()])
    assert {one.documents for one in found} == {70}
    alone = [
        corpus.explain(tuned=[corpus.table()], topics=[part]),
        corpus.explain(topics=[corpus.table()], tuned=[part]),
    ]
    mean = np.mean([figure(one, "novelty", 0.25, 0.05).value for one in alone])
    assert figure(found, "novelty", 0.25, 0.05).value == pytest.approx(mean)
    assert figure(found, "novelty", of="topics").value == figure(alone[0], "novelty", of="topics").value
    assert figure(found, "novelty", 0.25, 0.05).value != figure(found, "novelty", 0.25, 0.1).value


def break_fame(corpus, cell):
    for docid in corpus.docids:
        corpus.rows[docid]["fame"] = cell


@pytest.mark.parametrize(
    ("prepare", "asked", "complaint"),
    [
        (
            lambda c: None,
            {"outcomes": ["fam"]},
            "--outcome fam: the metadata's columns are author, fame, kind; name one",
        ),
        (lambda c: break_fame(c, "7"), {}, "--outcome fame: all 80 documents have the same number there"),
        (lambda c: break_fame(c, "nan"), {}, "in all tables, 0 have a value there; at least 20 are needed."),
        (lambda c: [c.rows[d].update(fame="") for d in c.docids[19:]], {}, "in all tables, 19 have a value there"),
        (
            lambda c: [c.rows[d].update(fame="") for d in c.docids[40:]],
            {"linear": False},
            "at least 44 are needed with five-year dummies (--date linear needs fewer)",
        ),
        (lambda c: [c.rows[d].update(author="A") for d in c.docids[:71]], {}, "by 6 authors; at least 10 are needed"),
        (lambda c: None, {"groups": ["kind"]}, "--groups kind: write COLUMN=ONE,OTHER"),
        (lambda c: None, {"groups": ["kind=new,new"]}, "write COLUMN=ONE,OTHER"),
        (lambda c: None, {"groups": ["kin=new,old"]}, "--groups kin=new,old: the metadata's columns are author"),
        (
            lambda c: None,
            {"groups": ["kind=high,old"]},
            "0 documents with precocity have 'high' there, and 5 are needed; the column has new, old.",
        ),
    ],
)
def test_what_cannot_be_explained_is_said_in_one_sentence(prepare, asked, complaint):
    corpus = Corpus()
    prepare(corpus)
    with pytest.raises(InputError) as error:
        corpus.explain(ASKED._replace(**({"outcomes": []} if "groups" in asked else {}) | asked))
    assert complaint in str(error.value) and str(error.value).endswith(".") and "\n" not in str(error.value)


def test_the_table_is_like_the_papers_with_its_figures_in_gray(few_draws, tmp_path):
    corpus = Corpus()
    for i, docid in enumerate(corpus.docids):
        corpus.rows[docid]["citations"] = str(int(np.exp(i / 12)))
    found = corpus.explain(Asked(["citations", "fame"], ["kind=new,old"], True, "author"))
    table = outcomes_page.explained_table(found)
    assert [len(row) for row in table.rows] == [len(table.headings)] * len(table.rows)
    first = [row[0].text for row in table.rows]
    assert first[:4] == ["log(1 + citations), all passages"] * 3 + ["log(1 + citations), top quarter"]
    assert first[6:8] == ["published, literary studies, top quarter", "published, economics, top quarter"]
    assert table.rows[6][1] == outcomes_page.Cell("topics .082", kind="published") and len(table.rows) == 20
    beyond = figure(found[:36], "r_squared_beyond", 0.25, 0.05)
    assert table.rows[5][-1] == (f"{beyond.value:.3f}", f"{beyond.low:.3f} to {beyond.high:.3f}", "")
    groups = outcomes_page.figures_table(found, 0.1, outcomes_page.GROUPS)
    assert [row[0].text for row in groups.rows] == [
        f"kind: new against old, {p}" for p in ("all passages", "top quarter")
    ]
    assert outcomes_page.figures_table(found[:36], 0.1, outcomes_page.GROUPS) is None
    outcomes.write_outcomes(tmp_path / "o.tsv", found)
    header, *lines = (line.split("\t") for line in (tmp_path / "o.tsv").read_text().splitlines())
    assert header == list(outcomes.Figure._fields) and len(lines) == len(found) and len(lines[0]) == len(header)
