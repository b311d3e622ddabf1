"""Paraphrase the cells that the pair table flags, through an OpenAI-compatible server.

Reads a pair table (paperId, year, anchor, positive, category). Of a single-synthetic row the "generate" cell
becomes a paraphrase of the other cell; of a synthetic-pair row one cell, drawn at random, becomes a paraphrase
of itself; other rows pass through. Writes the table in the same order with three columns more (system_prompt,
temperature, model), only once every row has its paraphrase. Every reply is kept in <output>.journal.jsonl before
it counts: run again after any stop and only what is missing is asked for, and paid for.
The key is read from OPENAI_API_KEY; --base-url or OPENAI_BASE_URL name another server (vLLM, llama.cpp …).
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import heapq
import re
import shutil
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice, zip_longest
from pathlib import Path

import corpus
import script
from paraphrase import batch
from paraphrase.asking import Stop, ask, clock, cost_of, dollars, is_openai, money, server_address
from paraphrase.corrections import keep_corrections
from paraphrase.journal import BY_HAND, Journal
from paraphrase.plan import FLAGGED, Request, drawn_with, plan, wording
from paraphrase.prompts import Prompt, read_prompts
from script import InputError, log

EXAMPLE = "python synthetic_data_generator.py -d training_pairs_final_set.tsv -o training_pairs_paraphrased.tsv"

MODEL = "gpt-6-luna"  # the cheapest current model; with reasoning off, which is how it is asked
PROMPTS = str(Path(__file__).with_name("prompts.toml"))
MOST_TOKENS = 768  # of a reply; five long sentences stay under 300
# OpenAI's models: dollars per million tokens in and out, and the announced end (developers.openai.com). A batch costs
# half.
PRICES_OF = "2026-11-23"
PRICES = {
    "gpt-6-luna": (0.10, 0.50, None),
    "gpt-5.6-luna": (0.20, 1.20, None),
    "gpt-5-nano": (0.05, 0.40, "2026-12-11"),
    "gpt-4o-mini": (0.15, 0.60, "2027-01-14"),
}
# What the estimate assumes until some replies of the model are there to go by: English prose, 4 to 5 sentences.
CHARACTERS_A_TOKEN, REPLY_TOKENS, CALL_SECONDS = 4, 130, 2
ENOUGH_REPLIES = 20


# ---------------------------------------------------------------- what there is to do


def missing(args, prompts: dict[str, Prompt], journal: Journal) -> Iterator[Request]:
    """Yield the requests of rows that lack their paraphrase and have tries left, at most --limit."""
    open_rows = (
        request
        for _, _, request in plan(args.datasource, args.seed, prompts)
        if request and (step := journal.outstanding(request, prompts)) and journal.tries(step) < args.tries
    )
    return islice(open_rows, args.limit)


def survey(args, prompts: dict[str, Prompt], journal: Journal) -> Counter:
    """Go through the table once, so that a damaged row stops the run before anything is paid for; count.

    Returns:
        Rows by category, and: rows, flagged, done, used_up, missing (rows to ask for, within --limit), calls and
        characters (of what is sent) for those.
    """
    counts = Counter()
    for _, row, request in plan(args.datasource, args.seed, prompts):
        counts["rows"] += 1
        counts[row["category"]] += 1
        if request is None:
            continue
        counts["flagged"] += 1
        step = journal.outstanding(request, prompts)
        if step is None:
            counts["done"] += 1
        elif journal.tries(step) >= args.tries:
            counts["used_up"] += 1
        elif args.limit is None or counts["missing"] < args.limit:
            counts["missing"] += 1
            counts["calls"] += 1
            counts["characters"] += len(wording(step.prompt)) + len(step.source)
            if step.prompt.then:  # the reply is sent once more
                counts["calls"] += 1
                counts["characters"] += len(wording(prompts[step.prompt.then])) + REPLY_TOKENS * CHARACTERS_A_TOKEN
    return counts


def price_of(args) -> tuple[float, float] | None:
    """Return dollars per million tokens in and out; None where it isn't known."""
    if args.price:
        return args.price
    return PRICES[args.model][:2] if args.at_openai and args.model in PRICES else None


def estimate(counts: Counter, journal: Journal) -> dict[str, float]:
    """Return calls, tokens and seconds for what is missing: from this model's replies so far, or from assumptions."""
    seen = {name: journal.totals[f"model_{name}"] for name in ("replies", "accepted", "seconds", "completion_tokens")}
    measured = seen["replies"] >= ENOUGH_REPLIES and seen["accepted"] > 0 and seen["completion_tokens"] > 0
    calls = counts["calls"] * (seen["replies"] / seen["accepted"] if measured else 1)
    reply_tokens = seen["completion_tokens"] / seen["replies"] if measured else REPLY_TOKENS
    return {
        "calls": calls,
        "tokens_in": counts["characters"] / CHARACTERS_A_TOKEN * calls / max(1, counts["calls"]),
        "tokens_out": calls * reply_tokens,
        "seconds": calls * (seen["seconds"] / seen["replies"] if measured and seen["seconds"] else CALL_SECONDS),
        "measured": measured,
    }


def show_estimate(counts: Counter, journal: Journal, args) -> None:
    """Print what a run would ask for, cost and take."""
    told, price = estimate(counts, journal), price_of(args)
    ends = PRICES.get(args.model, (0, 0, None))[2]
    lines = [(f"{args.datasource}", f"{counts['rows']:,} rows")]
    for category in corpus.CATEGORIES:
        to_do = "to be paraphrased" if category in FLAGGED else "as they are"
        lines.append((f"  {category}", f"{counts[category]:,}, {to_do}"))
    kept = f"{counts['done']:,} of {counts['flagged']:,} rows" if counts["flagged"] else "nothing to paraphrase"
    lines.append(("paraphrases that are there", kept))
    if counts["used_up"]:
        lines.append(("rows without tries left", f"{counts['used_up']:,}: raise --tries, or --accept-rejects"))
    if told["measured"]:
        basis = f"as with the {journal.totals['model_replies']:,} replies so far, rejected ones included"
    else:
        basis = f"{CHARACTERS_A_TOKEN} characters a token, {REPLY_TOKENS} tokens a reply, none rejected"
    lines.append(("calls", f"{told['calls']:,.0f} with {args.model}"))
    lines.append(("tokens", f"{told['tokens_in']:,.0f} in, {told['tokens_out']:,.0f} out ({basis})"))
    lines.append(("price", price_line(told, price, args)))
    if args.at_openai:
        known = f"{ends}" if ends else "not announced" if args.model in PRICES else "not known here"
        lines.append(("model's shutdown date", f"{known} ({PRICES_OF}; a run asks the server)"))
    pace = "as so far" if told["measured"] else f"{CALL_SECONDS} s a call"
    lines.append((f"time at --concurrency {args.concurrency}", f"{clock(told['seconds'] / args.concurrency)} ({pace})"))
    print("\n".join(f"{name:<28} {value}" for name, value in lines))
    print("No call was made.")


def price_line(told: dict, price: tuple[float, float] | None, args) -> str:
    """Return what the tokens cost, and in a batch."""
    if price is None:
        return "not known for this model and server; --price IN/OUT names it"
    amount, source = cost_of(told["tokens_in"], told["tokens_out"], price), f"list of {PRICES_OF}"
    at_half = f"; {dollars(amount * batch.DISCOUNT)} with --batch submit" if args.at_openai else ""
    rate = f"at ${price[0]:.2f} in and ${price[1]:.2f} out a million, {'--price' if args.price else source}"
    return f"{dollars(amount)} ({rate}){at_half}"


# ---------------------------------------------------------------- asking


def ask_for(requests: Iterator[Request], total: int, args, prompts: dict[str, Prompt], journal: Journal) -> None:
    """Ask for these requests, with progress. InputError where no further call would succeed."""
    if not total:
        return
    try:
        asyncio.run(ask(requests, total, journal, prompts, price_of(args), args))
    except Stop as stop:
        raise InputError(f"{stop} ({len(journal.accepted)} paraphrases are kept.)") from None
    except OSError as error:
        if journal.failed is None:
            raise
        raise InputError(
            f"{journal.path}: {error.strerror}; make room and run again ({len(journal.accepted)} paraphrases are kept)."
        ) from None


def show_preview(args, prompts: dict[str, Prompt], journal: Journal) -> int:
    """Print some rows' sources beside their paraphrases, asking for those that are missing; 1 where one stays so."""
    flagged = ((request.key, request, row) for _, row, request in plan(args.datasource, args.seed, prompts) if request)
    sample = heapq.nsmallest(args.preview, flagged, key=lambda one: one[0])  # keys are digests: a drawn sample
    requests = [request for _, request, _ in sample]
    open_ones = [one for one in requests if journal.outstanding(one, prompts)]
    ask_for(iter(open_ones), len(open_ones), args, prompts, journal)
    for _, request, row in sample:
        entry = journal.paraphrase_of(request, prompts)
        told = f"{entry['model']}, temperature {entry['temperature']}" if entry else "no paraphrase"
        print(f"\n{row['paperId']}, {row['year']}, {row['category']}, {request.prompt.name}, {told}")
        step = journal.outstanding(request, prompts)
        reasons = "; ".join(journal.reasons(step)) if step else ""
        print(side_by_side(request.source, entry["text"] if entry else f"({reasons or 'no reply'})"))
    return int(any(journal.outstanding(request, prompts) for request in requests))


def side_by_side(left: str, right: str) -> str:
    """Return two texts in two columns as wide as the terminal allows."""
    width = (min(shutil.get_terminal_size().columns, 160) - 3) // 2
    columns = [textwrap.wrap(text, width) for text in (left, right)]
    return "\n".join(f"{a:<{width}} | {b}" for a, b in zip_longest(*columns, fillvalue=""))


# ---------------------------------------------------------------- the result


def finish(args, prompts: dict[str, Prompt], journal: Journal, started: float) -> int:
    """List the rejects; write the table where every row has its paraphrase or may do without; return the status."""
    lacking, rejects = Counter(), []
    for number, row, request in plan(args.datasource, args.seed, prompts):
        step = journal.outstanding(request, prompts)
        if step is None:
            continue
        lacking["rows"] += 1
        lacking["used_up"] += journal.tries(step) >= args.tries
        reasons = journal.reasons(step)
        if reasons:
            rejects.append((number + 1, row["paperId"], row["category"], request.cell, "; ".join(reasons)))
    write_rejects(Path(args.rejects), rejects)
    done = lacking["rows"] == 0 or (args.accept_rejects and lacking["used_up"] == lacking["rows"])
    facts = summary(args, journal, lacking, started)
    if not done:
        say_how_to_go_on(args, journal, lacking)
        return 1
    rows, counts = result_rows(args, prompts, journal), Counter()
    facts["written"] = corpus.write_pairs(args.output, counted(rows, counts), columns_of(args.datasource))
    facts["counts"] = dict(counts)
    facts |= {"sha256": script.file_digest(args.output), "drawn": drawn_with(args.seed, prompts)}
    script.write_json(script.record_path(args.output), script.run_record(args, started, **facts))
    told = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in counts.items())
    log.info("%d rows in %s: %s", facts["written"], args.output, told)
    return 0


def result_rows(args, prompts: dict[str, Prompt], journal: Journal) -> Iterator[tuple[str, dict | None]]:
    """Yield, in order, what became of each row of the pair table, and the row to write, None for a row left out."""
    for _, row, request in plan(args.datasource, args.seed, prompts):
        added = dict.fromkeys(("system_prompt", "temperature", "model"), "")
        entry = journal.paraphrase_of(request, prompts) if request else None
        what = "paraphrased" if entry else "kept_without_paraphrase" if request else "passed_through"
        if entry and entry["model"] == BY_HAND:
            what = "corrected_by_hand"
            added = {name: entry[name] for name in added} | {entry["cell"]: entry["text"]}
        elif entry:
            # The prompt that was drawn for the row; a second step's is told by prompts.toml.
            told = entry | {"system_prompt": request.prompt.name}
            added = {name: "" if told[name] is None else told[name] for name in added} | {request.cell: entry["text"]}
        elif request and args.accept_rejects == "drop":
            yield "dropped_without_paraphrase", None
            continue
        elif request:
            added[request.cell] = request.source
        yield what, row | added


def columns_of(table: str) -> tuple[str, ...]:
    """Return the pair table's own columns and those that paraphrasing adds."""
    own = next(corpus.each_pair(table), dict.fromkeys(corpus.PAIR_COLUMNS))
    return tuple(dict.fromkeys((*own, *corpus.PARAPHRASED_COLUMNS)))


def counted(rows: Iterator[tuple[str, dict | None]], counts: Counter) -> Iterator[dict]:
    """Yield the rows to write, counting what became of all."""
    for what, row in rows:
        counts[what] += 1
        if row is not None:
            yield row


def write_rejects(path: Path, rejects: list[tuple]) -> None:
    """List every row that has rejected replies and no paraphrase, with the reasons; remove a list that is past."""
    if not rejects:
        path.unlink(missing_ok=True)
        return
    with script.replacing(path) as beside, open(beside, "w", encoding="utf-8", newline="") as table:
        writer = csv.writer(table, delimiter="\t", lineterminator="\n")
        writer.writerow(("pair", "paperId", "category", "cell", "rejected_replies"))
        writer.writerows(rejects)


def summary(args, journal: Journal, lacking: Counter, started: float) -> dict:
    """Log on one screen what all runs for this output brought; return it for the record."""
    totals, reasons = journal.totals, Counter(reason for told in journal.rejected.values() for reason in told)
    replies, accepted = totals["replies"], totals["accepted"]
    log.info("replies      %d, %d of them accepted (this run took %s)", replies, accepted, clock(time.time() - started))
    for reason, count in reasons.most_common():
        log.info("             %d rejected: %s", count, reason)
    log.info("tokens       %s in, %s out", f"{totals['prompt_tokens']:,}", f"{totals['completion_tokens']:,}")
    log.info("cost         %s", money(journal))
    for model in journal.writers.keys() - {args.model}:
        log.warning("%d paraphrases kept from an earlier run were written by %s", journal.writers[model], model)
    if lacking["rows"]:
        log.warning("%d rows lack a paraphrase; those with rejected replies: %s", lacking["rows"], args.rejects)
    return {
        "replies": {"all": replies, "accepted": accepted, "rejected": dict(reasons.most_common())},
        "tokens": {name: totals[f"{name}_tokens"] for name in ("prompt", "completion")},
        "dollars": round(journal.cost, 6),
        "replies_without_known_price": journal.unpriced,
    }


def say_how_to_go_on(args, journal: Journal, lacking: Counter) -> None:
    """Print the one sentence for a run that leaves rows without a paraphrase."""
    waiting = sum(one.get("requests", 0) for one in journal.open_batches())
    if waiting:
        remedy = f"{waiting} are in a batch: --batch status tells how far it is, --batch collect fetches it"
    elif lacking["used_up"] == lacking["rows"]:
        remedy = (
            f"all have used up --tries {args.tries}: raise it, or finish without them by --accept-rejects drop or "
            "keep-original"
        )
    else:
        remedy = f"run again to ask for the rest ({lacking['used_up']} of them have used up --tries {args.tries})"
    print(
        f"synthetic_data_generator.py: {lacking['rows']} rows lack a paraphrase, so {args.output} is not written; "
        f"{remedy}. Replies so far are kept.",
        file=sys.stderr,
    )


# ---------------------------------------------------------------- the command


def dollars_a_million(text: str) -> tuple[float, float]:
    """Argparse type: dollars per million tokens in and out, as 0.10/0.50."""
    found = re.fullmatch(r"(\d+\.?\d*|\.\d+)/(\d+\.?\d*|\.\d+)", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is not IN/OUT in dollars per million tokens, such as 0.10/0.50")
    return float(found[1]), float(found[2])


def positive_number(text: str) -> float:
    """Argparse type: a number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def parse_args(argv: list[str] | None = None):
    arguments = script.parser(__doc__, EXAMPLE)
    arguments.add_argument("-d", "--datasource", required=True, metavar="TSV", help="pair table with flagged rows")
    arguments.add_argument(
        "-o", "--output", default="training_pairs_paraphrased.tsv", metavar="TSV", help="(default %(default)s)"
    )
    arguments.add_argument("--rejects", metavar="TSV", help="(default <output>.rejects.tsv)")
    look = arguments.add_argument_group("look first, or pay half").add_mutually_exclusive_group()
    look.add_argument("--dry-run", action="store_true", help="say what a run would ask for, cost and take; no call")
    look.add_argument("--preview", type=script.positive_int, metavar="ROWS", help="show so many paraphrases, and stop")
    look.add_argument(
        "--batch",
        choices=("submit", "status", "collect"),
        help="OpenAI's Batch API, half the price, within a day: submit, later collect",
    )
    server = arguments.add_argument_group("server")
    add = server.add_argument
    add("--model", default=MODEL, help="(default %(default)s)")
    add("--base-url", metavar="URL", help="another OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1")
    add("--concurrency", type=script.positive_int, default=16, help="calls at a time, at most (default %(default)s)")
    add("--timeout", type=positive_number, default=300, metavar="SECONDS", help="for one reply (default %(default)s)")
    add("--max-tokens", type=script.positive_int, default=MOST_TOKENS, help="of a reply (default %(default)s)")
    add("--max-cost", type=positive_number, metavar="DOLLARS", help="for all runs of this output together, at worst")
    add("--price", type=dollars_a_million, metavar="IN/OUT", help="dollars per million tokens, where not known here")
    choice = arguments.add_argument_group("choice")
    add = choice.add_argument
    add("--prompts", default=PROMPTS, metavar="FILE", help="(default prompts.toml, beside the script)")
    add("--prompt-set", default="scholarly", metavar="NAME", help="of that file: scholarly (default), fiction, yours")
    add("--seed", type=int, default=0, help="of cells, prompts and temperatures (default %(default)s)")
    add("--tries", type=script.positive_int, default=3, help="replies a row may have rejected (default %(default)s)")
    add(
        "--accept-rejects",
        choices=("drop", "keep-original"),
        help="rows whose tries are used up: leave out, or write the passage itself (in a single-synthetic row twice)",
    )
    add("--limit", type=script.positive_int, metavar="ROWS", help="ask for so many rows now, not all; ends with 1")
    args = arguments.parse_args(argv)
    args.rejects = args.rejects or f"{args.output}.rejects.tsv"
    return args


def check_paths(args) -> None:
    """InputError where one file would be written over another."""
    paths = [Path(path).resolve() for path in (args.datasource, args.output, args.rejects)]
    if len(set(paths)) < len(paths):
        raise InputError("-d, -o and --rejects must name three different files.")


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    args.base_url = server_address(args.base_url)
    args.at_openai = is_openai(args.base_url)
    if args.max_cost is not None and price_of(args) is None:
        raise InputError(f"--max-cost needs a price, and none is known for {args.model}; add --price IN/OUT.")
    prompts = read_prompts(args.prompts, args.prompt_set)
    check_paths(args)
    with Journal(Path(f"{args.output}.journal.jsonl"), args.model, args.base_url, read_only=args.dry_run) as journal:
        if not args.dry_run and args.batch != "status":
            rows = (
                (row, request, journal.paraphrase_of(request, prompts) if request else None)
                for _, row, request in plan(args.datasource, args.seed, prompts)
            )
            keep_corrections(Path(args.output), rows, journal, drawn_with(args.seed, prompts))
        counts = survey(args, prompts, journal)
        if args.dry_run:
            show_estimate(counts, journal, args)
            return 0
        script.log_settings(args)
        log.info("%d rows to be paraphrased, %d of them to be asked for", counts["flagged"], counts["missing"])
        if not args.batch and (journal.open_batches() or journal.submitting):
            raise InputError("rows are in a batch; make --batch collect first, so that none is paid for twice.")
        if args.preview:
            return show_preview(args, prompts, journal)
        if args.batch:
            status = batch.run(args, prompts, journal, price_of(args), missing(args, prompts, journal))
            if args.batch == "status" or status or journal.open_batches():
                return status
        else:
            ask_for(missing(args, prompts, journal), counts["missing"], args, prompts, journal)
        return finish(args, prompts, journal, started)


if __name__ == "__main__":
    sys.exit(main())
