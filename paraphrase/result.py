"""What a run leaves: the list of rejected replies, the finished table, and the summary.

In: the survey's rows without paraphrase, the journal. Out: <output>.rejects.tsv; the table, where every row has its
paraphrase or may do without; its counts.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import corpus
from paraphrase.journal import BY_HAND, Journal
from paraphrase.plan import PairTable, Request
from paraphrase.prices import clock, money
from paraphrase.survey import Survey
from script import InputError, log, replacing, spreadsheet_cell

ADDED = ("system_prompt", "temperature", "model")


class Lacking(NamedTuple):
    """Rows that still lack a paraphrase."""

    rows: int
    used_up: int  # of them have no tries left
    rejects: list[tuple]  # number from 1, paperId, category, cell, reasons of those with rejected replies
    flagged: int  # rows of the table that should have a paraphrase

    def may_stay_so(self, accept_rejects: str | None) -> bool:
        """Tell whether the table may be written: no row lacks its paraphrase, or some do and have no tries left."""
        return self.rows == 0 or bool(accept_rejects and self.used_up == self.rows < self.flagged)


def lacking_rows(found: Survey, journal: Journal) -> Lacking:
    """Look again at the rows that had no paraphrase when the run began."""
    rows, used_up, rejects = 0, 0, []
    for row, request in found.pairs.at(found.lacking):
        step = journal.outstanding(request)
        if step is None:
            continue
        rows += 1
        used_up += journal.tries(step) >= found.effort.tries
        reasons = journal.reasons(step)
        if reasons:
            rejects.append((request.row + 1, row["paperId"], row["category"], request.cell, "; ".join(reasons)))
    return Lacking(rows, used_up, rejects, found.counts["flagged"])


def write_rejects(path: Path, rejects: list[tuple]) -> None:
    """List for people every row that has rejected replies and no paraphrase, with reasons; remove an earlier list."""
    if not rejects:
        path.unlink(missing_ok=True)
        return
    with replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, delimiter="\t", lineterminator="\n")
        writer.writerow(("pair", "paperId", "category", "cell", "rejected_replies"))
        writer.writerows(map(spreadsheet_cell, row) for row in rejects)


def write_table(path: Path, pairs: PairTable, journal: Journal, accept_rejects: str | None) -> tuple[int, Counter]:
    """Write the finished table, whole or not at all.

    Args:
        accept_rejects: what happens to a row without a paraphrase: "drop", "keep-original" or None, there is none.
    Returns:
        Rows written, and how many became what.
    """
    counts = Counter()
    columns = tuple(dict.fromkeys((*pairs.columns, *corpus.PARAPHRASED_COLUMNS)))
    return corpus.write_pairs(path, finished_rows(pairs, journal, accept_rejects, counts), columns), counts


def finished_rows(
    pairs: PairTable, journal: Journal, accept_rejects: str | None, counts: Counter
) -> Iterator[dict[str, str]]:
    """Yield the rows to write, in the pair table's order, counting what became of all."""
    for _, row, request in pairs.rows():
        entry = journal.paraphrase_of(request) if request else None
        if request is None:
            what, changed = "passed_through", {}
        elif entry:
            what = "corrected_by_hand" if entry["model"] == BY_HAND else "paraphrased"
            changed = paraphrased_cells(request, entry)
        elif accept_rejects:
            what = "dropped_without_paraphrase" if accept_rejects == "drop" else "kept_without_paraphrase"
            changed = {request.cell: request.source}
        else:
            raise InputError(f"pair {request.row + 1} ({row['paperId']}) has lost its paraphrase; run again.")
        counts[what] += 1
        if what != "dropped_without_paraphrase":
            yield row | dict.fromkeys(ADDED, "") | changed


def paraphrased_cells(request: Request, entry: dict) -> dict[str, str]:
    """Return the paraphrase and the columns that say where it comes from."""
    if entry["model"] == BY_HAND:
        return {name: entry[name] for name in ADDED} | {entry["cell"]: entry["text"]}
    # The prompt that was drawn for the row; prompts.toml says which one follows it.
    told = entry | {"system_prompt": request.prompt.name}
    return {name: "" if told[name] is None else told[name] for name in ADDED} | {request.cell: entry["text"]}


def summary(journal: Journal, seconds: float) -> dict:
    """Log on one screen what all runs for this output brought; return it for the record.

    Args:
        seconds: that this run took.
    """
    totals, reasons = journal.totals, Counter(reason for told in journal.rejected.values() for reason in told)
    replies, accepted = totals["replies"], totals["accepted"]
    log.info("replies      %d, %d of them accepted (this run took %s)", replies, accepted, clock(seconds))
    for reason, count in reasons.most_common():
        log.info("             %d rejected: %s", count, reason)
    log.info("tokens       %s in, %s out", f"{totals['prompt_tokens']:,}", f"{totals['completion_tokens']:,}")
    log.info("cost         %s", money(journal.cost, journal.unpriced))
    for model in journal.writers.keys() - {journal.model}:
        log.warning("%d paraphrases kept from an earlier run were written by %s", journal.writers[model], model)
    return {
        "replies": {"all": replies, "accepted": accepted, "rejected": dict(reasons.most_common())},
        "tokens": {name: totals[f"{name}_tokens"] for name in ("prompt", "completion")},
        "dollars": round(journal.cost, 6),
        "replies_without_known_price": journal.unpriced,
    }


def how_to_go_on(lacking: Lacking, tries: int, journal: Journal) -> str:
    """Return what to do where rows lack a paraphrase."""
    waiting = sum(one.get("requests", 0) for one in journal.open_batches())
    if waiting:
        return f"{waiting} are in a batch: --batch status shows how far it is, --batch collect fetches it"
    if lacking.used_up == lacking.rows == lacking.flagged:
        return f"not one reply of --tries {tries} a row could serve: try another --model, server, or --prompt-set"
    if lacking.used_up == lacking.rows:
        return (
            f"all have used up --tries {tries}: raise it, or finish without them with --accept-rejects drop or "
            "keep-original"
        )
    return f"run again to ask for the rest ({lacking.used_up} of them have used up --tries {tries})"
