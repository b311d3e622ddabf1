"""What there is to do: one pass through the pair table before anything is paid for.

In: the pair table and the journal. Out: counts of rows, calls and characters, and where the rows stand that lack their
paraphrase. InputError for a damaged row, so that nothing is asked for when the result could not be written.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from paraphrase.asking import Effort
from paraphrase.journal import Journal
from paraphrase.plan import PairTable, Place, Places, Request
from paraphrase.prompts import wording

# Assumed of a call until the journal holds some replies: English prose, 4 to 5 sentences.
CHARACTERS_A_TOKEN, REPLY_TOKENS = 4, 130


@dataclass
class Survey:
    """What one pass found.

    Attributes:
        counts: rows by category, and: rows, flagged, done, used_up, missing (rows to ask for, within the limit), calls
            and characters (of what is sent) for those.
        lacking: where the rows stand that had no paraphrase.
        sample: key and place of some flagged rows, drawn.
    """

    pairs: PairTable
    effort: Effort
    counts: Counter = field(default_factory=Counter)
    lacking: Places = field(default_factory=Places)
    sample: list[tuple[str, Place]] = field(default_factory=list)

    def requests(self, journal: Journal) -> Iterator[Request]:
        """Yield the requests of rows that lack their paraphrase and have tries left, within the limit."""
        missing = (
            request
            for _, request in self.pairs.at(self.lacking)
            if (step := journal.outstanding(request)) and journal.tries(step) < self.effort.tries
        )
        return islice(missing, self.effort.limit)


def survey(pairs: PairTable, journal: Journal, effort: Effort, sample: int = 0) -> Survey:
    """Go through the pair table once; sample is a number of flagged rows to draw."""
    found = Survey(pairs, effort)
    for place, row, request in pairs.rows():
        found.counts["rows"] += 1
        found.counts[row["category"]] += 1
        if request is None:
            continue
        found.counts["flagged"] += 1
        bisect.insort(found.sample, (request.key, place))  # keys are digests: the first ones are a drawn sample
        del found.sample[sample:]
        step = journal.outstanding(request)
        if step is None:
            found.counts["done"] += 1
            continue
        found.lacking.add(place)
        if journal.tries(step) >= effort.tries:
            found.counts["used_up"] += 1
        elif effort.limit is None or found.counts["missing"] < effort.limit:
            count_calls(found.counts, step)
    return found


def count_calls(counts: Counter, step: Request) -> None:
    """Count what a row takes until it has its paraphrase, if no reply is rejected."""
    counts["missing"] += 1
    counts["calls"] += 1
    counts["characters"] += len(wording(step.prompt)) + len(step.source)
    if step.second:  # the reply is sent once more
        counts["calls"] += 1
        counts["characters"] += len(wording(step.second)) + REPLY_TOKENS * CHARACTERS_A_TOKEN
