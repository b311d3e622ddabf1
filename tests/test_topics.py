"""fit_topics.py: mixtures in the form of embeddings, held-out documents respected, and precocity measured by them."""

import json

import numpy as np
import pytest

import calc_precocity_for_embeddings as calc
import corpus
import fit_topics
import script
from report import topics
from report.representations import Passages


@pytest.fixture
def two_kinds(corpus_folder, monkeypatch):
    """Return a corpus of 50 years, a document each, whose words of one kind give way to those of another."""
    monkeypatch.setattr(topics, "MOST_FREQUENT", 0)
    for i in range(50):
        texts = [" ".join("xyzuv"[k % 5] + "ab"[k * 50 < i * 40] * 3 for k in range(40))] * 2
        corpus_folder.add(f"t{i:02d}", 1890 + i, texts)
    return corpus_folder


def fit(made, *flags):
    out = made.folder / "topics"
    words = ["-o", str(out), "--topics", "2", "--iterations", "100", *map(str, flags)]
    return fit_topics.main([*made.flags, *words]), out


def test_mixtures_are_an_embedding_folder_by_which_precocity_is_measured(two_kinds, tmp_path, caplog):
    status, out = fit(two_kinds)
    ids, numbers, vectors = (np.concatenate(parts) for parts in zip(*corpus.each_decade(out)))
    assert (
        status == 0
        and ids.tolist() == [f"t{i:02d}" for i in range(50) for _ in range(2)]
        and numbers.tolist() == [0, 1] * 50
    )
    assert vectors.shape == (100, 2) and (vectors > 0).all() and vectors.sum(axis=1) == pytest.approx(1, abs=1e-5)
    assert abs(np.corrcoef(vectors[:, 0], np.arange(100))[0, 1]) > 0.9  # one kind gives way to the other
    assert corpus.read_manifest(out)["dimensions"] == 2 and len(corpus.read_records(out)) == 5
    measured = ["-m", str(two_kinds.metadata), "-d", str(out), "-o", str(tmp_path / "p"), "-s", "1910", "-e", "1912"]
    assert calc.main([*measured, "--distance", "kl", "--threads", "1"]) == 0
    rows = [line.split("\t") for line in (tmp_path / "p/1910s_docs.tsv").read_text().splitlines()[1:]]
    assert len(rows) == 96 and all(float(row[8]) > 0 for row in rows if row[3] == "1.0" and row[5] == "10")


def test_the_number_of_cores_changes_no_mixture(monkeypatch):
    """Fitting has a thread by default; inference as many as there are cores."""
    random, settings = np.random.default_rng(0), topics.TopicSettings(5, 20, range(1))
    passages = [[f"w{k}" for k in random.zipf(1.3, 60) if k < 400] for _ in range(300)]
    fits = []
    for cores in (1, 2, 5):
        monkeypatch.setenv("OMP_NUM_THREADS", str(cores))
        fits.append(topics.fit_and_infer(passages[:200], passages, settings, 0))
    assert fits[0].shape == (300, 5) and fits[0].std(axis=0).min() > 0.01
    np.testing.assert_array_equal(fits[0], fits[1])
    np.testing.assert_array_equal(fits[0], fits[2])


def test_embeddings_of_a_model_are_not_written_over(two_kinds, tmp_path, capsys):
    vectors = two_kinds.folder / "topics"
    corpus.write_embeddings(vectors / "1890.parquet", ["t00"], [0], np.ones((1, 3), dtype=np.float32))
    before = (vectors / "1890.parquet").read_bytes()
    assert fit(two_kinds)[0] == 2 and "holds other embeddings; name another folder" in capsys.readouterr().err
    assert (vectors / "1890.parquet").read_bytes() == before
    (vectors / corpus.DECADE_RECORDS).mkdir()  # as after a kill between a decade's file and its record
    assert fit(two_kinds)[0] == 0


def test_what_was_held_out_is_not_fitted_on_and_nothing_is_fitted_twice(two_kinds, caplog, monkeypatch):
    held, fitted = [f"t{i:02d}" for i in range(0, 50, 2)], []
    training = two_kinds.folder / "training.json"
    script.write_json(training, {"held_out_documents": held})
    original = topics.fit_and_infer
    monkeypatch.setattr(topics, "fit_and_infer", lambda *words: fitted.append(words) or original(*words))
    status, out = fit(two_kinds, "--training", training)
    ((seen, wanted, _, seed),) = fitted
    assert status == 0 and len(seen) == 50 and len(wanted) == 100 and seed == 0
    before = [vectors for _, _, vectors in corpus.each_decade(out)]
    assert fit(two_kinds, "--training", training)[0] == 0 and len(fitted) == 1 and "there already" in caplog.text
    script.write_json(training, {"held_out_documents": held[1:]})
    assert fit(two_kinds, "--training", training)[0] == 0 and len(fitted[1][0]) == 52
    assert fit(two_kinds, "--training", training, "--seed", 1)[0] == 0 and len(fitted) == 3
    script.write_json(training, {"held_out_documents": held})
    assert fit(two_kinds, "--training", training)[0] == 0
    again = [vectors for _, _, vectors in corpus.each_decade(out)]
    assert all((one == other).all() for one, other in zip(again, before, strict=True))


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["-s", "2000"], "has no document of the years asked for"),
        (["--training", "{metadata}.json"], "is not a training"),
    ],
)
def test_bad_input_is_one_sentence(two_kinds, capsys, flags, complaint):
    (two_kinds.folder / "metadata.tsv.json").write_text(json.dumps({"a": 1}))
    assert fit(two_kinds, *[flag.format(metadata=two_kinds.metadata) for flag in flags])[0] == 2
    assert complaint in capsys.readouterr().err.strip().splitlines()[-1]


def test_the_report_uses_mixtures_that_are_fitted_as_it_asks(two_kinds, caplog, monkeypatch):
    held, training = {"t00", "t02"}, two_kinds.folder / "training.json"
    script.write_json(training, {"held_out_documents": sorted(held)})
    _, out = fit(two_kinds, "--training", training)
    settings = topics.TopicSettings(2, 100, range(2))

    def fault(settings=settings, embedded=out, unseen=held):
        caplog.clear()
        used = topics.usable(str(out), str(embedded), settings, unseen)
        assert used == (None if caplog.text else (0, str(out)))
        return caplog.text.partition("is fitted: ")[2].strip()

    assert fault() == fault(unseen={"t00"}) == ""
    assert fault(topics.TopicSettings(3, 100, range(2))) == "it has topics 2, not 3"
    assert fault(topics.TopicSettings(2, 400, range(2))) == "it has iterations 100, not 400"
    assert fault(topics.TopicSettings(2, 100, range(1, 2))) == "its seed is 0"
    assert fault(unseen={"t00", "t01"}) == "it was fitted on documents that a model held out"
    (two_kinds.chunks / "t01.txt").write_text("0\tanother text\n")
    other = two_kinds.folder / "other"
    assert fit_topics.main([*two_kinds.flags, "-o", str(other), "--topics", "2", "--iterations", "1"]) == 0
    assert fault(embedded=other) == f"it was made of other passages than {other}"

    ids, years = ["t00", "t01"], np.array([1890, 1891])
    passages = Passages(ids, years, np.array([0, 0, 1]), np.array([0, 1, 0]))
    monkeypatch.setattr(topics, "fit_and_infer", None)  # nothing is fitted, and no text is read
    ready = topics.TopicSettings(2, 100, range(2), ready=(0, str(out)))
    whole = Passages(ids, years, np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1]))
    found = topics.topic_mixtures(two_kinds.folder / "kept", whole, None, ready, 0)
    _, _, of_decade = next(corpus.each_decade(out))
    assert (found == of_decade[:4]).all()
    with pytest.raises(script.InputError, match="does not hold the embedded passages in their order; delete it"):
        topics.topic_mixtures(two_kinds.folder / "kept", passages, None, ready, 0)
