"""The lexical yardstick: latent semantic analysis of which words a document has.

In: the texts of the corpus. Out: a run, as of an embedding model, of the wanted documents and of their passages.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np

from encoder import unit_rows

from .measures import MOST_PASSAGES
from .representations import Passages, Run, cosine_distance, halves_of
from .topics import Texts, words_of_rows

COMPONENTS = 100
RAREST = 2  # passages a word must occur in; one that is in a single passage tells of no other


class Lexical:
    """tf-idf of passages, reduced to 100 components; other texts, whole documents too, are projected into that space.

    Args:
        texts: all but the held-out documents are fitted on, of each at most 30 evenly spaced passages.
    Raises:
        ValueError: of scikit-learn, where hardly any word is in two passages.
    """

    def __init__(self, texts: Texts, seed: int):
        from sklearn.decomposition import TruncatedSVD
        from sklearn.feature_extraction.text import TfidfVectorizer

        fitted = [document.paper_id for document in texts.documents if document.paper_id not in texts.held]
        self.tfidf = TfidfVectorizer(analyzer=list, min_df=RAREST, sublinear_tf=True, dtype=np.float32)
        counted = self.tfidf.fit_transform(chain.from_iterable(map(spaced, map(texts.words_of, fitted))))
        self.reduced = TruncatedSVD(min(COMPONENTS, *counted.shape), random_state=seed).fit(counted)

    def vectors(self, texts: Iterable[Iterable[str]]) -> np.ndarray:
        """Return a row of length 1 for each text, given as words: float32, (texts, components)."""
        return unit_rows(self.tfidf.transform(texts) @ self.reduced.components_.T)


def spaced(passages: list) -> list:
    """Return at most MOST_PASSAGES of a document's passages, evenly spaced."""
    return [passages[i] for i in np.unique(np.linspace(0, len(passages) - 1, MOST_PASSAGES).astype(int)) if passages]


def lexical_run(texts: Texts, passages: Passages, rows: np.ndarray, seed: int) -> Run | None:
    """Return the run of these documents by latent semantic analysis; None where the texts have too few words.

    Args:
        passages: those of the wanted documents.
        rows: int, positions of the passages that are compared.
    """
    try:
        lexical = Lexical(texts, seed)
    except ValueError:
        return None
    _, odd, even = halves_of(passages, rows)
    documents, *halves = (
        lexical.vectors(map(chain.from_iterable, words_by_document(texts, of_some)))
        for of_some in (passages, passages.at(rows[odd]), passages.at(rows[even]))
    )
    compared = [lexical.vectors(words) for words in words_by_document(texts, passages.at(rows))]
    return Run(np.concatenate(compared), documents, cosine_distance(documents), tuple(map(cosine_distance, halves)))


def words_by_document(texts: Texts, passages: Passages) -> Iterator[list[list[str]]]:
    """Yield the words of each embedded passage, a document at a time: never those of a whole corpus at once."""
    starts = np.flatnonzero(np.diff(passages.document)) + 1  # a document's rows stand together
    for rows in np.split(np.arange(len(passages.document)), starts):
        if len(rows):
            paper_id = passages.paper_ids[passages.document[rows[0]]]
            yield words_of_rows({paper_id: texts.words_of(paper_id)}, passages.at(rows))
