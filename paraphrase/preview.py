"""Some paraphrases beside their sources, to look at before all are paid for."""

from __future__ import annotations

import shutil
import textwrap
from itertools import zip_longest

from paraphrase.journal import Journal
from paraphrase.plan import Request
from paraphrase.survey import Survey


def drawn_requests(found: Survey) -> list[tuple[dict[str, str], Request]]:
    """Return rows and requests of the survey's sample."""
    return list(found.pairs.at(place for _, place in found.sample))


def print_sample(sample: list[tuple[dict[str, str], Request]], journal: Journal) -> bool:
    """Print each row's source beside its paraphrase; return whether all rows have one."""
    for row, request in sample:
        entry, step = journal.paraphrase_of(request), journal.outstanding(request)
        told = f"{entry['model']}, temperature {entry['temperature']}" if entry else "no paraphrase"
        print(f"\n{row['paperId']}, {row['year']}, {row['category']}, {request.prompt.name}, {told}")
        reasons = "; ".join(journal.reasons(step)) if step else ""
        print(side_by_side(request.source, entry["text"] if entry else f"({reasons or 'no reply'})"))
    return not any(journal.outstanding(request) for _, request in sample)


def side_by_side(left: str, right: str) -> str:
    """Return two texts in two columns as wide as the terminal allows."""
    width = (min(shutil.get_terminal_size().columns, 160) - 3) // 2
    columns = [textwrap.wrap(text, width) for text in (left, right)]
    return "\n".join(f"{a:<{width}} | {b}" for a, b in zip_longest(*columns, fillvalue=""))
