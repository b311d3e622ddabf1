"""calc_precocity_for_embeddings.py compared with a definition in Python loops, and every edge case of the contract."""

import json
import math
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from literal_precocity import literal_precocity

import Apply_Tuned_Model as apply
import calc_precocity_for_embeddings as calc
import corpus
import lock
import script
from precocity import arithmetic, comparison, exclusions, years
from precocity.distances import DISTANCES
from precocity.embeddings import Folder
from precocity.quotes import Phrases, shared_phrases


class Embedded:
    """Metadata and decade files, filled by the test: documents in order, passages as {number: vector}."""

    def __init__(self, folder: Path):
        self.folder, self.data, self.out = folder, folder / "embeddings", folder / "out"
        self.metadata = folder / "metadata.tsv"
        self.documents: list[tuple[str, int]] = []
        self.passages: dict[str, dict[int, list[float]]] = {}
        self.authors: dict[str, str] = {}

    def add(self, paper_id, year, vectors, author="") -> "Embedded":
        self.documents.append((paper_id, year))
        numbered = vectors if isinstance(vectors, dict) else dict(enumerate(vectors))
        self.passages[paper_id] = {n: [float(np.float32(x)) for x in v] for n, v in numbered.items()}
        self.authors[paper_id] = author
        return self

    def write(self, suffix=".parquet") -> "Embedded":
        self.data.mkdir(parents=True, exist_ok=True)
        lines = [f"{d}\t{y}\t{self.authors[d]}\n" for d, y in self.documents]
        self.metadata.write_text("paperId\tyear\tauthor\n" + "".join(lines))
        for decade in {corpus.decade_of(year) for _, year in self.documents}:
            rows = [
                (d, n, v)
                for d, year in self.documents
                if corpus.decade_of(year) == decade
                for n, v in self.passages[d].items()
            ]
            if rows:
                ids, numbers, vectors = zip(*rows)
                matrix = np.array(vectors, dtype=np.float32)
                corpus.write_embeddings(self.data / f"{decade}{suffix}", list(ids), list(numbers), matrix)
        return self

    def file(self, name, lines) -> Path:
        (self.folder / name).write_text("".join("\t".join(line) + "\n" for line in lines))
        return self.folder / name

    def run(self, *flags) -> int:
        base = ["-m", str(self.metadata), "-d", str(self.data), "-o", str(self.out), "--threads", "2"]
        return calc.main([*base, *map(str, flags)])

    def table(self, name=None) -> list[tuple]:
        path = self.out / (name or json.loads((self.out / "manifest.json").read_text())["table"])
        header, *lines = path.read_text().splitlines()
        assert header.split("\t") == [
            *"docid date num_chunks fraction_compared filtered time_radius chunks_used".split(),
            *"precocity novelty transience years_past years_future".split(),
            *"se_years se_passages p_value z later_over_earlier".split(),
        ]
        value = lambda x: float(x) if x else None  # noqa: E731
        kinds = (str, int, int, float, str, int, float, *[value] * 3, int, int, *[value] * 5)
        return [tuple(kind(cell) for kind, cell in zip(kinds, line.split("\t"), strict=True)) for line in lines]


def assert_equal(got, expected, tolerance):
    """Compare tables except their last columns, on which the definition of precocity says nothing."""
    assert [row[:7] + row[10:12] for row in got] == [row[:7] + row[10:12] for row in expected]
    for mine, theirs in zip(got, expected):
        for a, b in zip(mine[7:10], theirs[7:10]):
            assert (a is None) == (b is None), (mine, theirs)
            assert a is None or abs(a - b) <= tolerance * max(1, abs(b)), (mine, theirs)


def random_vectors(dice, count, dimensions=6):
    return dice.normal(size=(count, dimensions)) + 0.7


@pytest.fixture
def embedded(tmp_path):
    return Embedded(tmp_path)


@pytest.fixture
def dense(tmp_path):
    """Return 26 years around 1900, two documents of three passages each, two years without any."""
    dice, made = np.random.default_rng(1), Embedded(tmp_path)
    for year in range(1888, 1914):
        if year not in (1893, 1905):
            for name in "ab":
                made.add(f"{name}-{year}", year, random_vectors(dice, 3), author=f"author {name}; {year % 5}")
    return made.write()


# ---------------------------------------------------------------- against the definition


@st.composite
def corpora(draw):
    """Draw a corpus with gaps, one-passage documents, reprints, exclusions of both kinds, training documents."""
    dice = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    gaps = draw(st.sampled_from([0.1, 0.4, 0.6]))
    years = [year for year in range(1885, 1916) if year == 1900 or dice.random() > gaps]
    documents, passages, pool = [], {}, []
    for year in dice.permutation(years).tolist():
        for i in range(dice.integers(1, 3)):
            vectors = random_vectors(dice, dice.choice([1, 1, 2, 5, 8]))
            if pool and dice.random() < 0.2:
                vectors[0] = pool[dice.integers(len(pool))] * dice.choice([1, 3])  # a reprint
            pool.append(vectors[0])
            name = f"{'x-' * (i % 2)}{year}-{i}"
            documents.append((name, year))
            numbers = dice.choice(len(vectors) + 2, len(vectors), replace=False) if dice.random() < 0.3 else None
            passages[name] = dict(zip(sorted(numbers.tolist()) if numbers is not None else range(99), vectors.tolist()))
    names = [name for name, _ in documents]
    some = lambda share: [name for name in names if dice.random() < share]  # noqa: E731
    train = some(draw(st.sampled_from([0, 0.2])))
    articles = {(c, o) for c in some(0.3) for o in some(0.1)}
    quotes = {(c, o, n) for c in some(0.3) for o in some(0.2) for n in list(passages[o])[:2]}
    return documents, passages, train, articles, quotes


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(corpora(), st.booleans(), st.sampled_from([arithmetic.PART_BYTES, 400]))
@pytest.mark.slow
def test_equal_to_the_definition_on_random_corpora(drawn, drop_identical, part_bytes):
    documents, passages, train, articles, quotes = drawn
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(arithmetic, "PART_BYTES", part_bytes)  # parts that cut documents in two
        patch.setattr(arithmetic, "BLOCK_ROWS", 7 if part_bytes == 400 else 512)
        made = Embedded(Path(folder))
        for name, year in documents:
            made.add(name, year, passages[name])
        made.write()
        flags = ["-s", 1899, "-e", 1902]
        if articles:
            flags += ["-a", made.file("a.tsv", sorted(articles))]
        if quotes:
            lines = [(c, f"{o}-{n}") for c, o, n in sorted(quotes)]
            flags += ["-c", made.file("c.tsv", lines)]
        if train:
            pairs = (
                {"paperId": d, "year": 1900, "anchor": "a", "positive": "p", "category": "successive"} for d in train
            )
            corpus.write_pairs(made.folder / "pairs.tsv", pairs)
            flags += ["--train-pairs", made.folder / "pairs.tsv"]
        flags += ["--drop-identical"] if drop_identical else []
        expected = literal_precocity(made.documents, made.passages, 1899, 1902, train, articles, quotes, drop_identical)
        for dtype, tolerance in (("float64", 1e-8), ("float32", 3e-6)):
            assert made.run(*flags, "--dtype", dtype) == 0
            assert_equal(made.table("1899s_docs.tsv"), expected, tolerance)


@pytest.mark.parametrize("drop_identical", [False, True])
@pytest.mark.parametrize("part_bytes", [arithmetic.PART_BYTES, 400])
@pytest.mark.slow
def test_divergences_of_mixtures_are_equal_to_the_definition(tmp_path, monkeypatch, drop_identical, part_bytes):
    """Sparse mixtures of few topics: some have zeros, some are the same in two years, or nearly so."""
    monkeypatch.setattr(arithmetic, "PART_BYTES", part_bytes)
    dice, made = np.random.default_rng(11), Embedded(tmp_path)
    for year in range(1888, 1914):
        for name in "ab" if year % 5 else "abc":
            mixtures = dice.dirichlet([0.3] * 5, size=3)
            mixtures[0, 1] = 0 if name == "b" else mixtures[0, 1]
            mixtures[1] = [0.2, 0.2, 0.2, 0.2, 0.2] if year % 3 == 0 else mixtures[1]
            mixtures[2] = [0.2, 0.2, 0.2, 0.1999, 0.2001] if year % 7 == 0 else mixtures[2]
            made.add(f"{name}-{year}", year, mixtures / mixtures.sum(axis=1, keepdims=True))
    articles = [("a-1900", "a-1901"), ("b-1901", "b-1899")]
    made.write()
    flags = ["-s", 1899, "-e", 1903, "--distance", "kl", "-a", made.file("a.tsv", articles)]
    flags += ["--drop-identical"] if drop_identical else []
    expected = literal_precocity(
        made.documents, made.passages, 1899, 1903, articles=set(articles), drop_identical=drop_identical, kl=True
    )
    for dtype, tolerance in (("float64", 1e-8), ("float32", 3e-6)):
        assert made.run(*flags, "--dtype", dtype) == 0
        assert_equal(made.table(), expected, tolerance)
    assert json.loads((made.out / "manifest.json").read_text())["identical_pairs"] > 0
    torch = lambda dtype, device, threads, distance: arithmetic.Torch(dtype, "cpu", DISTANCES[distance])  # noqa: E731
    monkeypatch.setattr(calc, "pick_arithmetic", torch)
    assert made.run(*flags, "--dtype", "float64") == 0
    assert_equal(made.table(), expected, 1e-8)


def test_divergence_counted_by_hand(tmp_path):
    """p = (½, ½) against (¼, ¾) before and itself after: KL = ½·ln 2 + ½·ln ⅔ and 0."""
    made = Embedded(tmp_path).add("center", 1900, [[0.5, 0.5]])
    for year in (*range(1890, 1900), *range(1901, 1911)):
        made.add(f"d{year}", year, [[0.25, 0.75]] if year < 1900 else [[0.5, 0.5]])
    assert made.write().run("-s", 1900, "-e", 1901, "--distance", "kl", "--dtype", "float64") == 0
    novelty = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    rows = [row for row in made.table() if row[5] == 10]
    assert rows and all(row[7:10] == (pytest.approx(novelty), pytest.approx(novelty), 0) for row in rows)


def test_vectors_that_are_no_mixtures_are_refused_by_name(dense, capsys):
    assert dense.run("-s", 1900, "-e", 1901, "--distance", "kl") == 2
    assert "passage a-1900-0 is no mixture of topics" in capsys.readouterr().err


def test_counted_by_hand():
    """Orthogonal to the past, parallel to half of the future: distances 0 and −artanh(1 − 1e-9)."""
    with tempfile.TemporaryDirectory() as folder:
        made = Embedded(Path(folder)).add("center", 1900, [[1, 0]])
        for year in range(1890, 1900):
            made.add(f"past{year}", year, [[0, 1]])
        for year in range(1901, 1911):
            made.add(f"future{year}", year, [[2, 0], [0, 3]])
        assert made.write().run("-s", 1900, "-e", 1901) == 0
        most = math.atanh(1 - 1e-9)
        for row in made.table():
            transience = -most / 2 if row[3] == 1.0 else -most  # ceil(0.1 × 2) = 1: only the nearest
            assert row[5] == 20 or row[7:12] == (pytest.approx(-transience), 0, pytest.approx(transience), 10, 10)
        assert json.loads((made.out / "manifest.json").read_text())["identical_pairs"] == 10


def test_the_order_is_fractions_filters_radii_shares(dense):
    assert dense.run("-s", 1900, "-e", 1901) == 0
    rows = [row for row in dense.table() if row[0] == "a-1900"]
    expected = [
        (f, name, r, g)
        for f in (1.0, 0.1, 0.05)
        for name in ("no filter", "train", "trainauth", "trainauthquote")
        for r in (10, 20)
        for g in (1.0, 0.25)
    ]
    assert [row[3:7] for row in rows] == expected


# ---------------------------------------------------------------- edge cases


def test_years_without_passages_are_left_out_and_too_few_give_an_empty_value(dense):
    assert dense.run("-s", 1900, "-e", 1901) == 0
    (row,) = [r for r in dense.table() if r[:1] + r[3:7] == ("a-1900", 1.0, "no filter", 10, 1.0)]
    assert row[10:12] == (9, 9) and None not in row[:12]
    (row,) = [r for r in dense.table() if r[:1] + r[3:7] == ("a-1900", 1.0, "no filter", 20, 1.0)]
    assert row[10:12] == (11, 12) and None not in row[:12]
    assert dense.run("-s", 1892, "-e", 1893) == 0  # four years before
    for row in dense.table():
        assert row[7] is None and row[10] == 4
        assert (row[8] is None, row[9] is None) == (True, row[6] == 0.25)


def test_a_year_left_empty_by_a_filter_is_left_out_for_that_filter_alone(dense):
    others = [("a-1900", f"{name}-{year}") for name in "ab" for year in (1899, 1901, 1902)]
    assert dense.run("-s", 1900, "-e", 1901, "-a", dense.file("a.tsv", others)) == 0
    years = {(row[0], row[4]): row[10:12] for row in dense.table() if row[5] == 10}
    assert years["a-1900", "train"] == (9, 9) and years["b-1900", "trainauth"] == (9, 9)
    assert years["a-1900", "trainauth"] == years["a-1900", "trainauthquote"] == (8, 7)


def test_gaps_in_passage_numbers_are_used_and_reported(dense, caplog):
    dense.passages["a-1900"] = {n + 3: v for n, v in dense.passages["a-1900"].items()}
    dense.write()
    assert dense.run("-s", 1900, "-e", 1901) == 0
    assert dense.table()[0][2] == 3
    assert "1 documents whose passage numbers are not 0, 1, 2 …" in caplog.text and "a-1900" in caplog.text


def test_documents_without_embeddings_have_no_lines_and_are_listed(dense, caplog):
    dense.passages["a-1900"] = {}
    dense.add("lost", 1950, {})
    dense.write()
    assert dense.run("-s", 1900) == 0
    assert {row[0] for row in dense.table()} & {"a-1900", "lost"} == set()
    assert "2 documents of the metadata have no embeddings" in caplog.text and "lost" in caplog.text


def test_documents_without_metadata_are_listed(dense, caplog):
    dense.metadata.write_text(
        "\n".join(line for line in dense.metadata.read_text().split("\n") if "b-1901" not in line)
    )
    assert dense.run("-s", 1900, "-e", 1901) == 0 and "1 documents have embeddings but no line" in caplog.text


def test_other_files_are_ignored_with_a_line(dense, caplog):
    for name in ("notes.txt", "1895.parquet", ".DS_Store"):
        (dense.data / name).write_text("x")
    assert dense.run("-s", 1900, "-e", 1901) == 0
    assert "3 other files ignored: .DS_Store, 1895.parquet, notes.txt" in caplog.text


def test_a_decade_without_a_file_is_named(dense, caplog):
    (dense.data / "1910.parquet").unlink()
    assert dense.run("-s", 1900, "-e", 1901) == 0
    assert "has no file for the 1910s (8 documents): nothing is compared with them" in caplog.text


def test_the_originals_tsv_gives_the_same(dense):
    assert dense.run("-s", 1900, "-e", 1902, "--dtype", "float64") == 0
    before = dense.table()
    shutil.rmtree(dense.data)
    assert dense.write(".tsv").run("-s", 1900, "-e", 1902, "--dtype", "float64") == 0
    assert_equal(dense.table(), before, 1e-6)


def spoil(made, change):
    """Rewrite the 1900s with changed ids, numbers and vectors."""
    path = made.data / "1900.parquet"
    ids, numbers, vectors = corpus.read_embeddings(path)
    corpus.write_embeddings(path, *change(ids, numbers.copy(), vectors.copy()))


def put(row, value):
    def change(ids, numbers, vectors):
        vectors[row] = value
        return ids, numbers, vectors

    return change


def repeat(ids, numbers, vectors):
    numbers[4] = 0
    return ids, numbers, vectors


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (put(4, 0), "1900.parquet, row 4: the vector of b-1900-1 has length 0; embed this decade again."),
        (put(5, math.nan), "1900.parquet, row 5: the vector contains NaN or infinity; embed this decade again."),
        (lambda i, n, v: (i, n, v[:, :5]), "has 6 dimensions and 1900.parquet 5; embed all decades with one model."),
        (repeat, "1900.parquet: rows 3 and 4 are both passage b-1900-0; embed this decade again."),
        (lambda i, n, v: (["a-1895" if d == "a-1901" else d for d in i], n, v), "'a-1895', of 1895 in the metadata"),
    ],
)  # fmt: skip
def test_bad_embeddings_are_one_sentence(dense, capsys, change, complaint):
    spoil(dense, change)
    assert dense.run("-s", 1900, "-e", 1901) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert complaint in said and not (dense.out / "1900s_docs.tsv").exists()


@pytest.mark.parametrize(
    ("flag", "lines", "complaint"),
    [
        ("-a", [("a-1900", "a-1901"), ("a-1900",)], "a.tsv, line 2: 1 cells"),
        ("-a", [("a-1900", "a-1901", "b-1901")], "a.tsv, line 1: 3 cells"),
        (
            "-a",
            [("nobody", "a-1901")],
            "line 1: 'nobody' is not a paperId in the metadata, and no line is usable",
        ),
        ("-c", [("a-1900", "a-1901")], None),
        ("-c", [("a-1900", "a-1901-x")], "a.tsv, line 1: 'a-1901-x' is not of the form paperId-number"),
        ("-c", [("a-1900", "nowhere-1")], "a.tsv, line 1: 'nowhere' is not a paperId"),
    ],
)
def test_bad_exclusions_are_one_sentence(dense, capsys, flag, lines, complaint):
    status = dense.run("-s", 1900, "-e", 1901, flag, dense.file("a.tsv", lines))
    said = capsys.readouterr().err
    assert status == 2 and ((complaint or "'a' is not a paperId in the metadata") in said)


def test_a_document_without_listed_passages_and_tabs_at_the_end_do_no_harm(dense):
    (dense.folder / "c.tsv").write_text("a-1900\t\r\n\nb-1900\ta-1901-0\t\n")
    assert dense.run("-s", 1900, "-e", 1901, "-c", dense.folder / "c.tsv") == 0
    expected = literal_precocity(dense.documents, dense.passages, 1900, 1901, quotes={("b-1900", "a-1901", 0)})
    assert_equal(dense.table(), expected, 3e-6)


def test_exclusions_with_carriage_returns_as_line_ends_are_read(dense, caplog):
    (dense.folder / "c.tsv").write_bytes(b"a-1900\tnobody-0\rb-1900\ta-1901-0\r")
    assert dense.run("-s", 1900, "-e", 1901, "-c", dense.folder / "c.tsv") == 0
    assert "1 names are not in the metadata, skipped: nobody (line 1)" in caplog.text
    expected = literal_precocity(dense.documents, dense.passages, 1900, 1901, quotes={("b-1900", "a-1901", 0)})
    assert_equal(dense.table(), expected, 3e-6)


def test_unknown_documents_among_known_ones_are_named(dense, caplog):
    lines = [("a-1900", "a-1901"), ("a-1900", "nobody"), ("somebody", "a-1901")]
    assert dense.run("-s", 1900, "-e", 1901, "-a", dense.file("a.tsv", lines)) == 0
    assert "2 names are not in the metadata, skipped: nobody (line 2), somebody (line 3)" in caplog.text


def test_listed_passages_without_embeddings_are_counted(dense, caplog):
    lines = [("a-1900", "a-1901-7", "a-1901-1")]
    assert dense.run("-s", 1900, "-e", 1901, "-c", dense.file("c.tsv", lines)) == 0
    assert "1 times a passage listed for a document has no embedding" in caplog.text


@pytest.mark.parametrize(
    ("prepare", "flags", "complaint"),
    [
        (lambda m: None, ["-s", 2000], "has no document of the years asked for"),
        (lambda m: shutil.rmtree(m.data), [], "is not a folder; give the one that Apply_Tuned_Model.py wrote"),
        (lambda m: [p.unlink() for p in m.data.iterdir()], [], "lacks any decade's file"),
        (lambda m: (m.data / "decades").mkdir(), [], "the folder is not complete"),
        (lambda m: m.write(".tsv"), [], "contains 1880.parquet and 1880.tsv; delete the one you do not want"),
        (lambda m: m.add("a-1900", 1900, []).write(), [], "paperId 'a-1900' is on lines"),
        (lambda m: None, ["--device", "mps", "--dtype", "float64"], "--device mps"),
        (lambda m: None, ["--exclude-same-author", "--author-column", "writer"], "no column 'writer'"),
    ],
)
def test_bad_folders_and_flags_are_one_sentence(dense, capsys, prepare, flags, complaint):
    prepare(dense)
    assert dense.run(*flags) == 2
    assert complaint in capsys.readouterr().err.strip().splitlines()[-1]


def test_invalid_utf8_is_advised_a_flag_only_where_it_helps(dense, capsys):
    chunks = dense.folder / "chunks"
    chunks.mkdir()
    (chunks / "a-1900.txt").write_bytes(b"0\tcaf\xe9 one two three four five six\n")
    flags = ["-s", 1900, "-e", 1901, "--exclude-quotes", "-r", chunks]
    assert dense.run(*flags) == 2
    assert "a-1900.txt: byte 5 (0xe9) is not UTF-8" in (told := capsys.readouterr().err)
    assert "or pass --encoding-errors replace" in told
    assert dense.run(*flags, "--encoding-errors", "replace") == 0
    latin = dense.file("latin.tsv", [])
    latin.write_bytes(b"caf\xe9\tb-1901\n")
    assert dense.run("-a", latin) == 2
    assert "latin.tsv: byte 3 (0xe9) is not UTF-8; convert the file to UTF-8." in capsys.readouterr().err


def test_quotes_without_texts_are_refused(dense, capsys):
    with pytest.raises(SystemExit):
        dense.run("--exclude-quotes")
    assert "--exclude-quotes needs -r/--rootfolder" in capsys.readouterr().err


# ---------------------------------------------------------------- float32, torch, memory


def test_float32_is_exact_for_passages_nearly_identical(tmp_path):
    """If all cosines are close to 1, float32 alone would be off by whole units."""
    dice, made = np.random.default_rng(0), Embedded(tmp_path)
    base = dice.normal(size=32)
    for year in range(1889, 1912):
        made.add(f"d{year}", year, base + dice.normal(size=(90, 32)) * 10.0 ** -dice.integers(1, 5))
    made.write()
    tables = {}
    for dtype in ("float64", "float32"):
        assert made.run("-s", 1900, "-e", 1901, "--dtype", dtype) == 0
        tables[dtype] = made.table()
    assert_equal(tables["float32"], tables["float64"], 2e-6)
    assert 0 < json.loads((made.out / "manifest.json").read_text())["float32_difference"] < 1e-5


def test_float32_that_is_too_far_off_is_refused(dense, capsys, monkeypatch):
    monkeypatch.setattr(comparison, "MOST_DIFFERENCE", 1e-12)
    assert dense.run("-s", 1900, "-e", 1901) == 2
    assert "use --dtype float64" in capsys.readouterr().err


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch_gives_the_same(dense, monkeypatch, dtype):
    dense.passages["a-1901"][0] = dense.passages["a-1900"][0]
    dense.write()
    flags = ["-s", 1899, "-e", 1902, "--dtype", dtype, "--drop-identical"]
    flags += ["-a", dense.file("a.tsv", [("a-1900", "a-1901"), ("b-1900", "a-1899")])]
    assert dense.run(*flags) == 0
    before = dense.table()
    monkeypatch.setattr(
        calc,
        "pick_arithmetic",
        lambda dtype, device, threads, distance: arithmetic.Torch(dtype, "cpu", DISTANCES[distance]),
    )
    shutil.rmtree(dense.out)
    assert dense.run(*flags) == 0
    assert_equal(dense.table(), before, 1e-9 if dtype == "float64" else 1e-6)


def test_only_the_decades_needed_are_read_and_no_more_are_kept_than_fit(dense, monkeypatch):
    dense.add("far", 1700, [[1] * 6]).add("later", 1990, [[1] * 6]).write()
    read, original = [], corpus.read_embeddings
    monkeypatch.setattr(corpus, "read_embeddings", lambda path: (read.append(Path(path).name), original(path))[1])
    assert dense.run("-s", 1900, "-e", 1903) == 0
    assert sorted(read) == ["1880.parquet", "1890.parquet", "1900.parquet", "1910.parquet"]
    before = dense.table()
    read.clear()
    shutil.rmtree(dense.out)
    assert dense.run("-s", 1900, "-e", 1903, "--memory", "0.000001") == 0
    assert len(read) > 8 and dense.table() == before


# ---------------------------------------------------------------- again, and in several tasks


def times(made):
    return {path.name: path.stat().st_mtime_ns for path in made.out.rglob("*") if path.is_file()}


def test_a_year_that_is_there_is_not_made_again_and_the_table_is_replaced(dense, caplog):
    assert dense.run("-s", 1898, "-e", 1902) == 0
    first, before = dense.table(), times(dense)
    (dense.out / "years/1900.tsv").unlink()
    assert dense.run("-s", 1898, "-e", 1902) == 0
    changed = {name for name, at in times(dense).items() if before[name] != at}
    assert changed == {"1900.tsv", "1900.json", "1900.parquet", "1898s_docs.tsv", "manifest.json"}
    assert dense.table() == first


def test_how_much_time_is_left_is_judged_by_the_documents_to_be_compared(dense, caplog, monkeypatch):
    caplog.set_level("INFO", script.log.name)
    folder = Folder(str(dense.data), corpus.read_metadata(dense.metadata)[0])
    clock = iter(range(0, 10**6, 1000))
    monkeypatch.setattr(years.time, "time", lambda: next(clock))  # so each year takes 1,000 seconds
    monkeypatch.setattr(years, "make_year", lambda year, *_: year != 1888)  # which is up to date
    years.make_years([1888, 1889, 1890, 1913], folder, lambda year: None, None, None)
    # Two documents a year, and 20, 21 and 19 years with documents from 20 years before to 20 after 1889, 1890 and 1913.
    told = [record.getMessage() for record in caplog.records if record.name == script.log.name]
    assert told == ["2 of 4 years, about 0:33:20 left", "3 of 4 years, about 0:15:27 left"]  # 1000·40/20, 2000·19/41


def test_a_decade_replaced_under_its_manifest_is_refused(dense, capsys):
    records = [
        {"file": path.name, "bytes": path.stat().st_size, "sha256": script.file_digest(path), "passages": 1}
        for path in sorted(dense.data.iterdir())
    ]
    script.write_json(dense.data / "manifest.json", {"decades": records})
    assert dense.run("-s", 1900, "-e", 1902) == 0
    spoil(dense, put(4, 2))
    records[2]["bytes"] = (dense.data / "1900.parquet").stat().st_size
    script.write_json(dense.data / "manifest.json", {"decades": records})
    before = {path: path.read_bytes() for path in dense.out.rglob("*") if path.is_file()}
    assert dense.run("-s", 1900, "-e", 1902, "--dtype", "float64") == 2
    assert {path: path.read_bytes() for path in dense.out.rglob("*") if path.is_file()} == before
    assert "1900.parquet is not the file that manifest.json lists" in capsys.readouterr().err


def test_what_is_refused_touches_nothing_that_is_finished(dense, capsys):
    assert dense.run("-s", 1900, "-e", 1902) == 0
    spoil(dense, put(4, math.nan))
    before = {path: path.read_bytes() for path in dense.out.rglob("*") if path.is_file()}
    assert dense.run("-s", 1900, "-e", 1902) == 2
    assert {path: path.read_bytes() for path in dense.out.rglob("*") if path.is_file()} == before
    assert "contains NaN or infinity" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "remade"),
    [
        (lambda m: [], []),
        (lambda m: ["--dtype", "float64"], [1898, 1899, 1900, 1901]),
        (lambda m: ["--drop-identical"], [1898, 1899, 1900, 1901]),
        (lambda m: ["-a", m.file("a.tsv", [("a-1900", "a-1901")])], [1900]),
        (lambda m: ["-a", m.file("a.tsv", [("a-1905", "a-1901"), ("a-1800", "a-1900"), ("a-1910", "a-1900")])], []),
        (lambda m: m.add("new", 1920, [[1] * 6]).write() and [], [1900, 1901]),
        (lambda m: spoil(m, put(0, 5)), [1898, 1899, 1900, 1901]),
    ],
)
def test_a_year_is_made_again_when_what_it_was_made_from_changed(dense, change, remade):
    """1920 is in no window before 1900; the file of the 1900s is in all of them."""
    assert dense.run("-s", 1898, "-e", 1902) == 0
    before = times(dense)
    assert dense.run("-s", 1898, "-e", 1902, *(change(dense) or [])) == 0
    changed = {name for name, at in times(dense).items() if before.get(name) != at and name[:4].isdecimal()}
    assert {int(name[:4]) for name in changed if name.endswith(".parquet")} == set(remade)


def test_an_array_of_years_is_whole_with_its_last_task(dense):
    whole = dense.out
    assert dense.run("-s", 1898, "-e", 1902) == 0
    expected, dense.out = (dense.out / "1898s_docs.tsv").read_bytes(), dense.folder / "array"
    for year in (1901, 1899, 1898, 1897, 1900):
        assert dense.run("-s", 1898, "-e", 1902, "--year", year) == 0
        assert (dense.out / "1898s_docs.tsv").exists() == (year == 1900)
    assert (dense.out / "1898s_docs.tsv").read_bytes() == expected and whole != dense.out
    (dense.out / "years/1899.tsv").write_text("cut off")
    assert dense.run("-s", 1898, "-e", 1902, "--year", 1898) == 0
    assert dense.run("-s", 1898, "-e", 1902, "--year", 1899, 1900) == 0
    assert (dense.out / "1898s_docs.tsv").read_bytes() == expected


def test_two_runs_in_one_folder_are_refused_and_tasks_of_an_array_are_not(dense, capsys):
    years = ("-s", 1898, "-e", 1902)
    with lock.alone_in(dense.out):
        assert dense.run(*years) == 2 and "out is in use by process" in capsys.readouterr().err
        assert dense.run(*years, "--year", 1900) == 2 and [path.name for path in dense.out.iterdir()] == [".lock"]
    with lock.alone_in(dense.out, 1899):
        assert dense.run(*years) == 2 and dense.run(*years, "--year", 1898, 1899) == 2
        assert dense.run(*years, "--year", 1900, 1901) == 0 == dense.run(*years, "--year", 1898)
    assert dense.run(*years, "--year", 1899) == 0 and (dense.out / "1898s_docs.tsv").exists()


def test_prefix_and_default_years(dense):
    assert dense.run("-p", "my_") == 0
    assert {path.name for path in dense.out.iterdir()} == {"my_1888s_docs.tsv", "my_manifest.json", "years", "passages"}
    assert len(dense.table("my_1888s_docs.tsv")) == 48 * 48
    assert (dense.out / "years/my_1900.tsv").exists()


def test_every_passage_has_its_values_on_file(dense):
    import pandas as pd

    assert dense.run("-s", 1900, "-e", 1901) == 0
    table = pd.read_parquet(dense.out / "passages/1900.parquet")
    assert len(table) == 6 * 24 and table.chunknumber.tolist()[::24] == [0, 1, 2, 0, 1, 2]
    for row in dense.table():
        if row[6] == 1.0:
            some = table[
                (table.paperId == row[0])
                & (table.fraction_compared == row[3])
                & (table.filtered == row[4])
                & (table.time_radius == row[5])
            ]
            assert len(some) == 3 and some.precocity.mean() == pytest.approx(row[7], abs=1e-6)


# ---------------------------------------------------------------- exclusions made here


def test_same_author_excludes_both_ways_and_shows_the_file(dense):
    assert dense.run("-s", 1900, "-e", 1902, "--exclude-same-author", "--author-column", "author") == 0
    lines = [line.split("\t") for line in (dense.out / "author_exclusions.tsv").read_text().splitlines()]
    centers = {center for center, _ in lines}
    assert centers == {"a-1900", "b-1900", "a-1901", "b-1901"}
    of_a = {other for center, other in lines if center == "a-1900"}
    assert {"a-1899", "b-1895", "b-1890"} <= of_a and not {"b-1900", "a-1900", "b-1899"} & of_a
    expected = literal_precocity(dense.documents, dense.passages, 1900, 1902, articles={tuple(line) for line in lines})
    assert_equal(dense.table(), expected, 3e-6)


def test_authors_are_alike_whatever_case_and_spaces():
    assert exclusions.authors_in("Mary  Shelley; P. B. SHELLEY;") == {"mary shelley", "p. b. shelley"}


def test_shared_six_words_exclude_the_passage_and_common_phrases_do_not(dense):
    quote, phrase = "Call me Ishmael some years ago", "in the course of human events"
    chunks = dense.folder / "chunks"
    chunks.mkdir()
    for document, _ in dense.documents:
        texts = [f"{document} {i} {phrase} {document}" for i in range(3)]
        (chunks / f"{document}.txt").write_text("".join(f"{i}\t{text}\n" for i, text in enumerate(texts)))
    (chunks / "a-1900.txt").write_text(f"0\tHe wrote: {quote}, and more.\n1\tx\n2\ty\n")
    (chunks / "b-1910.txt").write_text("0\tnothing\n1\t“call me Ishmael. Some years ago—” again\n2\tcall me ishmael\n")
    flags = ["-s", 1900, "-e", 1901, "--exclude-quotes", "-r", chunks]
    assert dense.run(*flags) == 0
    assert (dense.out / "quotes/1900.tsv").read_text() == "a-1900\tb-1910-1\n"
    expected = literal_precocity(dense.documents, dense.passages, 1900, 1901, quotes={("a-1900", "b-1910", 1)})
    assert_equal(dense.table(), expected, 3e-6)
    before = times(dense)
    assert dense.run(*flags) == 0 and times(dense)["1900.tsv"] == before["1900.tsv"]
    assert dense.run(*flags, "--quote-documents", "100") == 0
    counted = [line.count("\t") for line in (dense.out / "quotes/1900.tsv").read_text().splitlines()]
    assert counted == [1, 45 * 3]  # b-1900 shares the phrase with all other years' passages, except b-1910's


@given(*[st.lists(st.integers(0, 6), max_size=8).map(sorted)] * 2)
def test_phrases_of_two_years_are_matched_as_by_looking_at_every_pair(center, other):
    def phrases(hashes):
        return Phrases([], np.array(hashes, dtype=np.uint64), *[np.zeros(len(hashes), dtype=np.int32)] * 2)

    found = np.stack(shared_phrases(phrases(center), phrases(other))).T.tolist()
    assert found == [[i, k] for i in range(len(center)) for k in range(len(other)) if center[i] == other[k]]


def test_quotations_are_sought_again_when_a_text_changed_and_not_for_other_embeddings(dense):
    quote, chunks = "Call me Ishmael some years ago", dense.folder / "chunks"
    chunks.mkdir()
    for document in ("a-1900", "b-1910", "a-1888"):
        (chunks / f"{document}.txt").write_text(f"0\t{quote}\n")
    found, flags = dense.out / "quotes/1900.tsv", ["-s", 1900, "-e", 1901, "--exclude-quotes", "-r", chunks]
    assert dense.run(*flags) == 0 and found.read_text() == "a-1900\ta-1888-0\tb-1910-0\n"
    made = found.stat().st_mtime_ns
    spoil(dense, put(4, 0.5))
    assert dense.run(*flags) == 0 and found.stat().st_mtime_ns == made
    (chunks / "b-1910.txt").write_text("0\tCall me Ishmael some days ago\n")
    assert dense.run(*flags) == 0 and found.read_text() == "a-1900\ta-1888-0\n"
    (chunks / "a-1888.txt").unlink()
    assert dense.run(*flags) == 0 and found.read_text() == ""


@pytest.mark.slow
def test_quotations_are_sought_in_the_texts_that_were_embedded_and_in_no_others(
    word_corpus, tiny_encoder, tmp_path, capsys
):
    """Passages counted otherwise than those that were embedded would leave out the wrong ones."""

    def embed():
        where = ["-m", str(tiny_encoder), "-o", str(tmp_path / "embeddings"), "--device", "cpu"]
        return apply.main([*where, *word_corpus.flags])

    def measure(*flags):
        where = ["-m", str(word_corpus.metadata), "-d", str(tmp_path / "embeddings"), "-o", str(tmp_path / "out")]
        return calc.main([*where, "--exclude-quotes", "-r", str(word_corpus.chunks), *flags])

    assert embed() == 0 and measure() == 0
    chunk = word_corpus.chunks / "doc05.txt"
    chunk.write_text("".join(chunk.read_text().splitlines(keepends=True)[1:]))
    before = (tmp_path / "out/manifest.json").read_bytes()
    assert measure() == 2 and (tmp_path / "out/manifest.json").read_bytes() == before
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "the 1910s in" in said and "were not embedded from the texts in" in said
    assert embed() == 0 and measure() == 0


def test_a_table_that_begins_with_another_year_takes_the_place_of_the_old_one(dense):
    assert dense.run("-s", 1898, "-e", 1901) == 0
    (dense.out / "manifest.json").unlink()  # as when the years are made anew
    assert dense.run("-s", 1900, "-e", 1901, "-p", "my_") == 0 and (dense.out / "1898s_docs.tsv").exists()
    assert dense.run("-s", 1900, "-e", 1901) == 0 and (dense.out / "my_1900s_docs.tsv").exists()
    assert [path.name for path in dense.out.glob("1*s_docs.tsv")] == ["1900s_docs.tsv"]
    assert script.read_json(dense.out / "manifest.json")["table"] == "1900s_docs.tsv"
    assert (dense.out / "years/1898.json").exists()  # to ask for 1898 again costs no time
