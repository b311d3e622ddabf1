"""report_precocity.py: what it says of a table whose values are known, and the part of the page it writes."""

import re

import numpy as np
import pytest

import lock
import report_precocity
import script
from report import page, precocity_page, precocity_tables

FRACTIONS, FILTERS = (1.0, 0.1, 0.05), ("no filter", "train", "trainauth", "trainauthquote")


class Measured:
    """A folder as calc_precocity_for_embeddings.py leaves it: forty documents over two decades, values as told."""

    def __init__(self, folder, seed=0):
        import pyarrow as pa
        from pyarrow import parquet

        self.folder, self.metadata, self.out = folder / "precocity", folder / "metadata.tsv", folder / "out"
        dice = np.random.default_rng(seed)
        years = [1900 + i // 2 for i in range(40)]
        novelty = {f"{i:02d}": x for i, x in enumerate(dice.normal(-0.5, 0.1, size=40))}
        precocity = {f"{i:02d}": x for i, x in enumerate(dice.normal(scale=0.1, size=40))}
        lines, rows = ["\t".join(("docid date num_chunks fraction_compared filtered time_radius chunks_used precocity "
                                  "novelty transience years_past years_future se_years se_passages p_value z "
                                  "later_over_earlier").split()) + "\n"], {}  # fmt: skip
        for (name, value), year in zip(precocity.items(), years):
            empty = name == "39"
            for fraction in FRACTIONS:
                for filtered in FILTERS:
                    for radius in (10, 20):
                        for share, more in ((1.0, 0), (0.25, 0.1)):
                            values = (
                                ["", "", ""] if empty else [value + more, novelty[name], novelty[name] - value - more]
                            )
                            sure = [""] * 5 if empty else [0.03, "" if name == "05" else 0.04, 0.02, value * 10, ""]
                            cells = [name, year, 4, fraction, filtered, radius, share, *values, 9, 9, *sure]
                            lines.append("\t".join(map(str, cells)) + "\n")
            rows.setdefault(year, []).extend((name, n, value + n * 0.01 - 0.015) for n in range(4))
        script.write_lines(self.folder / "1900s_docs.tsv", lines)
        kind = {"fraction_compared": 0.1, "filtered": "trainauthquote", "time_radius": 20, "chunks_used": 1.0}
        kind |= {"spread": 0.1, "expected_spread": 0.025, "share_below_05": 0.4}
        kind |= {"split_half_correlation": 0.5, "reliability": 2 / 3}
        script.write_json(self.folder / "manifest.json", {"table": "1900s_docs.tsv", "kinds": [kind]})
        (self.folder / "passages").mkdir()
        for year, some in rows.items():
            ids, numbers, values = zip(*some)
            columns = {"paperId": ids, "chunknumber": numbers, "precocity": values}
            columns |= {"fraction_compared": [0.1] * len(ids), "filtered": ["trainauthquote"] * len(ids)}
            table = pa.table(columns | {"time_radius": [20] * len(ids)})
            parquet.write_table(table, self.folder / f"passages/{year}.parquet")
        self.precocity, self.years = precocity, years
        self.write_metadata({name: f"{100 * value + 3:.4f}" for name, value in precocity.items()} | {"07": ""})

    def write_metadata(self, citations):
        lines = [
            f"{name}\t{year}\tThe <{name}> of {name}\t{citations[name]}\t{'ab'[int(name) % 2]}\n"
            for name, year in zip(self.precocity, self.years)
        ]
        self.metadata.write_text("paperId\tyear\ttitle\tcitations\tkind\n" + "".join(lines))

    def run(self, *flags, table=None):
        return report_precocity.main([str(table or self.folder), "-t", str(self.metadata), "-o", str(self.out), *flags])


@pytest.fixture
def measured(tmp_path):
    return Measured(tmp_path)


@pytest.mark.slow
def test_the_section_has_every_picture_and_reads_them(measured):
    assert measured.run() == 0
    section = (measured.out / "section.html").read_text()
    assert section.startswith("<h2>") and "<html" not in section and section.count("data:image/png;base64,") == 3
    assert not re.findall(r'(?:src|href)="(?!data:)', section)
    known = {name: value for name, value in measured.precocity.items() if name != "39"}
    most, least = max(known, key=known.get), min(known, key=known.get)
    assert f"Furthest ahead of its time is The &lt;{most}&gt; of {most} (19" in section
    assert f"furthest behind The &lt;{least}&gt; of {least} (19" in section and "of 39 documents" in section
    assert "1 document has no value" in section and "What precocity goes with" not in section
    assert "0.100 more precocious on average" in section
    assert "correlate at r = 0.50, so that precocity from all passages has a reliability of 0.67" in section
    assert "it would be 0.025. p is below 0.05 for 40% of documents" in section and "<span>± 0.100</span>" in section
    for name in ("timeline", "top_quarter", "strips"):
        assert (measured.out / f"precocity_{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("prefix", ["para10-", "run2", "-5s_docs.tsv"])
@pytest.mark.slow
def test_passages_are_found_by_whatever_prefix_the_manifest_tells(measured, capsys, prefix):
    table = measured.folder / f"{prefix}1900s_docs.tsv"
    (measured.folder / "1900s_docs.tsv").rename(table)
    (measured.folder / "manifest.json").unlink()
    script.write_json(measured.folder / f"{prefix}manifest.json", {"table": table.name})
    for path in list((measured.folder / "passages").iterdir()):
        path.rename(path.with_name(prefix + path.name))
    assert measured.run(table=table) == 0 and measured.run() == 0
    assert (measured.out / "precocity_strips.png").exists()
    script.write_json(measured.folder / "manifest.json", {"table": "1900s_docs.tsv"})
    assert measured.run() == 2 and "pass one of them" in capsys.readouterr().err
    assert measured.run(table=table) == 0
    (measured.folder / f"{prefix}manifest.json").unlink()
    assert measured.run(table=table) == 2 and "no manifest tells of" in capsys.readouterr().err


@pytest.mark.slow
def test_a_table_that_is_being_made_in_the_same_folder_is_not_shown(measured, capsys):
    measured.out = measured.folder
    with lock.alone_in(measured.folder, 1905):
        assert measured.run() == 2 and "precocity is in use by process" in capsys.readouterr().err
    assert measured.run() == 0


@pytest.mark.slow
def test_the_most_and_the_least_of_each_decade(measured):
    assert measured.run(table=measured.folder / "1900s_docs.tsv") == 0
    header, *lines = (measured.out / "precocity_most_least.tsv").read_text().splitlines()
    rows = [dict(zip(header.split("\t"), line.split("\t"))) for line in lines]
    assert [(row["decade"], row["kind"], row["rank"]) for row in rows] == [
        (decade, kind, rank) for decade in ("1900", "1910") for kind in ("most", "least") for rank in "123"
    ]
    of_the_1900s = sorted(list(measured.precocity)[:20], key=measured.precocity.get)
    assert [row["docid"] for row in rows[:6]] == of_the_1900s[:-4:-1] + of_the_1900s[:3]


def test_a_decade_of_one_document_is_listed_too():
    import pandas as pd

    columns = {"year": [1900, 1910, 1911], "passages": 1, "precocity": [1.0, 2, 3], "novelty": 0.0, "transience": 0.0}
    columns |= {"se_years": 0.1, "se_passages": np.nan, "p_value": 0.5, "z": np.nan, "later_over_earlier": np.nan}
    listed = precocity_tables.most_and_least(pd.DataFrame(columns | {"title": ["a", "b", "c"]}, index=["a", "b", "c"]))
    assert [(row["decade"], row["kind"], row["docid"]) for row in listed] == [
        (1900, "most", "a"), (1910, "most", "c"), (1910, "least", "b")
    ]  # fmt: skip
    parts = page.templates().get_template("parts.html").module
    assert parts.table(precocity_page.decades_table(listed)).count("<tr>") == 3


@pytest.mark.slow
def test_the_page_shows_what_explains_an_outcome(measured, tmp_path):
    topics = Measured(tmp_path / "topics", 1)
    names = ("--name", "tuned", "--beside", f"topics={topics.folder}")
    assert measured.run(*names, "--outcome", "citations", "--groups", "kind=a,b", "--date", "years-5") == 0
    found = script.read_json(measured.out / "precocity_report.json")["outcomes"]
    known = [one for one in found if one["outcome"] == "citations" and one["representation"] == "tuned"]
    values = [one["value"] for one in known if one["figure"] == "r_squared_beyond"]
    date = known[0]["value"]
    assert len(values) == 6 and values == pytest.approx([1 - date] * 6) and known[0]["documents"] == 38 and date < 0.5
    header, *lines = (line.split("\t") for line in (measured.out / "precocity_outcomes.tsv").read_text().splitlines())
    assert [dict(zip(header, line))["figure"] for line in lines] == [one["figure"] for one in found]
    section = (measured.out / "section.html").read_text()
    assert "<td>citations, top quarter</td><td>nearest 10%</td><td>38 by 38</td>" in section
    assert f"Date alone explains {date:.1%} of the variance in citations" in section
    assert "<td>kind: a against b, top quarter</td>" in section and "Welch’s t" in section


def test_ids_that_look_like_numbers_or_nothing_stay_text(tmp_path):
    path = tmp_path / "1900s_docs.tsv"
    header = (
        "docid\tdate\tnum_chunks\tfraction_compared\tfiltered\ttime_radius\tchunks_used\tprecocity\tnovelty\ttransience"
        "\tse_years\tse_passages\tp_value\tz\tlater_over_earlier"
    )
    names = ["007", "NA", "nan", '"lone', "1e5"]
    path.write_text(
        header.replace(" ", "\t")
        + "\n"
        + "".join(f"{n}\t1900\t1\t1.0\tno filter\t10\t1.0\t\t0.1\t\t\t\t\t\t\n" for n in names)
    )
    table = precocity_tables.read_tables([str(path)])
    assert table.docid.tolist() == names and table.precocity.isna().all() and table.novelty.tolist() == [0.1] * 5


def add_column(path, name, cell):
    header, *lines = path.read_text().splitlines()
    path.write_text("\n".join([f"{header}\t{name}", *(f"{line}\t{cell}" for line in lines)]) + "\n")


@pytest.mark.parametrize(
    ("prepare", "flags", "complaint"),
    [
        (lambda m: None, ["--outcome", "fame"], "--outcome fame: the metadata's columns are paperId, year, title"),
        (lambda m: None, ["--outcome", "title"], "--outcome title: of the documents with precocity in all tables, 0"),
        (lambda m: (m.folder / "manifest.json").unlink(), [], "not all years are done"),
        (lambda m: [p.unlink() for p in (m.folder / "passages").iterdir()], [], "keep that folder beside the table"),
        (lambda m: m.metadata.write_text("paperId\tyear\n01\t1900\n"), [], "the metadata has no 00"),
        (lambda m: (m.folder / "1900s_docs.tsv").write_text("docid\tx\n"), [], "line 1: no column date"),
        (lambda m: (m.folder / "1900s_docs.tsv").write_text(""), [], "is not a precocity table"),
        (lambda m: (m.folder / "1900s_docs.tsv").write_text("docid\tdate\tdate\n"), [], "columns are named 'date'"),
        (lambda m: add_column(m.metadata, "citations", "9"), ["--outcome", "citations"], "are named 'citations'"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_no_section(measured, capsys, prepare, flags, complaint):
    prepare(measured)
    assert measured.run(*flags) == 2
    assert complaint in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (measured.out / "section.html").exists()


def test_a_corpus_too_thin_for_any_value_is_said_and_no_error(measured, caplog):
    table = measured.folder / "1900s_docs.tsv"
    header, *lines = table.read_text().splitlines()
    cut = ["\t".join([*line.split("\t")[:7], "", "", "", "3", "3", *[""] * 5]) for line in lines]
    table.write_text("\n".join([header, *cut]) + "\n")
    assert measured.run() == 0 and "fewer than two documents have precocity" in caplog.text
    assert "40 documents have no value" in (measured.out / "section.html").read_text()


@pytest.mark.slow
def test_other_representations_stand_beside_this_one(measured, tmp_path):
    from scipy.stats import rankdata, spearmanr

    topics, seed = (Measured(tmp_path / f"{n}", n) for n in (1, 2))
    names = ("--name", "tuned", "--beside", f"topics={topics.folder}", "--beside", f"topics={seed.folder}")
    assert measured.run(*names, "--beside", f"tuned={seed.folder}") == 0
    values = [[float(one.precocity[f"{i:02d}"]) for i in range(39)] for one in (measured, topics, seed)]
    rho = lambda i, j: spearmanr(values[i], values[j]).statistic  # noqa: E731
    section = (measured.out / "section.html").read_text()
    between = np.mean([rho(0, 1), rho(0, 2), rho(2, 1), rho(2, 2)])
    assert f"<td>{rho(0, 2):.2f}</td><td>{between:.2f}</td>" in section.replace("\n", "")
    assert f"<td>{between:.2f}</td><td>{rho(1, 2):.2f}</td>" in section.replace("\n", "")
    header, *lines = (line.split("\t") for line in (measured.out / "precocity_beside.tsv").read_text().splitlines())
    ranks = np.array([rankdata(some) / 39 for some in values])
    apart = np.abs((ranks[0] + ranks[2]) / 2 - (ranks[1] + ranks[2]) / 2)
    assert header == ["docid", "year", "title", "tuned", "tuned rank", "topics", "topics rank", "disagreement"]
    assert len(lines) == 39 and lines[0][0] == f"{apart.argmax():02d}"
    assert float(lines[0][7]) == pytest.approx(apart.max(), abs=1e-5)
    found = script.read_json(measured.out / "precocity_report.json")["rank_correlations"]
    assert {"of": "tuned", "and": "topics", "rho": pytest.approx(between)} in found
    assert measured.run("--beside", "topics") == 2


@pytest.mark.slow
def test_tables_of_other_documents_are_not_compared(measured, tmp_path, caplog):
    other = Measured(tmp_path / "other")
    table = other.folder / "1900s_docs.tsv"
    header, *lines = table.read_text().splitlines()
    table.write_text("\n".join([header, *(f"x{line}" for line in lines)]) + "\n")
    assert measured.run("--beside", f"other={other.folder}") == 0
    assert "0 documents have precocity in all of precocity, other" in caplog.text
    assert "By other representations" not in (measured.out / "section.html").read_text()


def test_one_document_twice_is_refused(measured, capsys):
    table = str(measured.folder / "1900s_docs.tsv")
    assert report_precocity.main([table, table, "-t", str(measured.metadata), "-o", str(measured.out)]) == 2
    assert "'00' is in two of the tables" in capsys.readouterr().err


@pytest.mark.slow
def test_the_list_of_documents_is_safe_to_open_in_a_spreadsheet(measured):
    most = max((name for name in measured.precocity if name != "39"), key=measured.precocity.get)
    measured.metadata.write_text(measured.metadata.read_text().replace(f"The <{most}> of", "=HYPERLINK of"))
    assert measured.run() == 0
    header, *lines = (line.split("\t") for line in (measured.out / "precocity_most_least.tsv").read_text().splitlines())
    (row,) = (dict(zip(header, line)) for line in lines if line[3] == most)
    assert row["title"] == f"'=HYPERLINK of {most}" and float(row["precocity"]) and row["docid"] == most
    assert any(line[header.index("precocity")].startswith("-") for line in lines)
