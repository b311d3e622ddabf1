"""Paraphrase the cells that the pair table flags, using an OpenAI-compatible server.

Reads a pair table (paperId, year, anchor, positive, category). In a single-synthetic row, the cell "generate"
becomes a paraphrase of the other cell; in a synthetic-pair row, one cell, drawn at random, becomes a paraphrase
of itself; other rows stay as they are. Writes the table in the same order with three more columns (system_prompt,
temperature, model), once every row has its paraphrase. Every reply is kept in <output>.journal.jsonl: after any
stop, run again, and only what is missing is asked for and paid for. A paraphrase that you correct by hand in the
finished table is kept there, too. The key is read from OPENAI_API_KEY; --base-url or OPENAI_BASE_URL name another
server (vLLM, llama.cpp …).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import re
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import corpus
import lock
import script
from paraphrase import batch, preview, result
from paraphrase.address import is_openai, server_address
from paraphrase.asking import Effort, ask
from paraphrase.corrections import keep_corrections
from paraphrase.estimate import estimate_lines
from paraphrase.journal import Journal
from paraphrase.key import warn_of_open_key
from paraphrase.plan import Draw, PairTable, Request
from paraphrase.prices import listed_price
from paraphrase.prompts import read_prompts
from paraphrase.server import Server, Stop
from paraphrase.survey import Survey, survey
from script import InputError, log

EXAMPLE = "python synthetic_data_generator.py -d training_pairs_final_set.tsv -o training_pairs_paraphrased.tsv"

MODEL = "gpt-6-luna"  # the cheapest current model; with reasoning off, which is how it is asked
PROMPTS = str(Path(__file__).with_name("prompts.toml"))


# ---------------------------------------------------------------- settings


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
    add, output = arguments.add_argument, "training_pairs_paraphrased.tsv"
    add("-d", "--datasource", required=True, metavar="TSV", help="pair table with flagged rows")
    add("-o", "--output", default=output, metavar="TSV", help="finished table (default %(default)s)")
    add("--rejects", metavar="TSV", help="list of rejected replies (default <output>.rejects.tsv)")
    add_look_arguments(arguments.add_argument_group("preview and batch").add_mutually_exclusive_group())
    add_server_arguments(arguments.add_argument_group("server"))
    add_choice_arguments(arguments.add_argument_group("choices"))
    args = arguments.parse_args(argv)
    args.rejects = args.rejects or f"{args.output}.rejects.tsv"
    return args


def add_look_arguments(group) -> None:
    add, actions = group.add_argument, ("submit", "status", "collect")
    add("--dry-run", action="store_true", help="show calls, price and time of a run; make no call")
    add("--preview", type=script.positive_int, metavar="ROWS", help="show this many paraphrases beside their sources")
    add("--batch", choices=actions, help="OpenAI's Batch API, half the price, within a day: submit, later collect")


def add_server_arguments(group) -> None:
    add, count = group.add_argument, script.positive_int
    add("--model", default=MODEL, help="model to ask (default %(default)s)")
    add("--base-url", metavar="URL", help="another OpenAI-compatible server, e.g. http://127.0.0.1:8000/v1")
    add("--concurrency", type=count, default=16, help="most calls at a time (default %(default)s)")
    add("--timeout", type=positive_number, default=300, metavar="SECONDS", help="for a reply (default %(default)s)")
    add("--max-tokens", type=count, default=Server.max_tokens, help="longest reply (default %(default)s)")
    add("--max-cost", type=positive_number, metavar="DOLLARS", help="most that all runs for this output may cost")
    add("--price", type=dollars_a_million, metavar="IN/OUT", help="dollars per million tokens, if not known here")


def add_choice_arguments(group) -> None:
    add, count, instead = group.add_argument, script.positive_int, ("drop", "keep-original")
    add("--prompts", default=PROMPTS, metavar="FILE", help="prompt sets (default prompts.toml, beside the script)")
    add("--prompt-set", default="scholarly", metavar="NAME", help="scholarly (default), fiction, or one of your own")
    add("--seed", type=int, default=0, help="draws cells, prompts and temperatures (default %(default)s)")
    add("--tries", type=count, default=3, help="rejected replies allowed per row (default %(default)s)")
    text = "rows out of tries: leave out, or write the passage itself (in a single-synthetic row, twice)"
    add("--accept-rejects", choices=instead, help=text)
    add("--limit", type=count, metavar="ROWS", help="ask for this many rows; exit with 1 if more are left")


def check_paths(args) -> None:
    """InputError where one file would be written over another."""
    paths = [Path(path).resolve() for path in (args.datasource, args.output, args.rejects)]
    if len(set(paths)) < len(paths):
        raise InputError("-d, -o and --rejects must name three different files.")


def server_of(args) -> Server:
    """Return the server's settings. InputError where --max-cost is given and no price is known."""
    price = args.price or (listed_price(args.model) if args.at_openai else None)
    if args.max_cost is not None and price is None:
        raise InputError(f"--max-cost needs a price, and none is known for {args.model}; add --price IN/OUT.")
    return Server(args.base_url, args.model, args.timeout, args.max_tokens, price)


# ---------------------------------------------------------------- steps


def ask_for(requests: Iterable[Request], total: int, found: Survey, journal: Journal, server: Server) -> None:
    """Ask for these requests, with progress. InputError where no further call would succeed."""
    if not total:
        return
    kept = "paraphrases are kept.)"
    try:
        asyncio.run(ask(iter(requests), total, journal, server, found.effort))
    except Stop as stop:
        raise InputError(f"{stop} ({len(journal.accepted)} {kept}") from None
    except OSError as error:
        if journal.failed is None:
            raise
        place = f"{journal.path}: {error.strerror}"
        raise InputError(f"{place}; make room and run again ({len(journal.accepted)} {kept}") from None


def show_preview(found: Survey, journal: Journal, server: Server) -> int:
    """Ask for the paraphrases that a sample lacks, and print it; return the exit status."""
    sample = preview.drawn_requests(found)
    missing = [request for _, request in sample if journal.outstanding(request)]
    ask_for(missing, len(missing), found, journal, server)
    return 0 if preview.print_sample(sample, journal) else 1


def finish(args, found: Survey, journal: Journal, started: float) -> int:
    """List the rejects; write the table where every row has its paraphrase or may do without; return the status."""
    lacking = result.lacking_rows(found, journal)
    journal.keep_years(found.pairs.taken_up)
    result.write_rejects(Path(args.rejects), lacking.rejects)
    facts = result.summary(journal, time.time() - started)
    if lacking.rows:
        log.warning("%d rows lack a paraphrase; those with rejected replies: %s", lacking.rows, args.rejects)
    if not lacking.may_stay_so(args.accept_rejects):
        print(
            f"synthetic_data_generator.py: {lacking.rows} rows lack a paraphrase, so {args.output} is not written; "
            f"{result.how_to_go_on(lacking, args.tries, journal)}. Replies so far are kept.",
            file=sys.stderr,
        )
        return 1
    facts["written"], counts = result.write_table(args.output, found.pairs, journal, args.accept_rejects)
    facts |= {"counts": dict(counts), "sha256": script.file_digest(args.output), "drawn": found.pairs.draw.facts()}
    facts[corpus.PAIRS_DIGEST] = found.pairs.digest()
    script.write_json(script.record_path(args.output), script.run_record(args, started, **facts))
    told = ", ".join(f"{count} {what.replace('_', ' ')}" for what, count in counts.items())
    log.info("%d rows in %s: %s", facts["written"], args.output, told)
    return 0


@script.command
def main(argv: list[str] | None = None) -> int:
    args, started = parse_args(argv), time.time()
    args.base_url = server_address(args.base_url)
    args.at_openai = is_openai(args.base_url)
    server, effort = server_of(args), Effort(args.concurrency, args.tries, args.limit, args.max_cost)
    draw = Draw(args.seed, args.prompt_set, read_prompts(args.prompts, args.prompt_set))
    check_paths(args)
    output = Path(args.output)
    with (
        contextlib.nullcontext() if args.dry_run else lock.alone_in(output.parent, output.name),
        Journal(Path(f"{output}.journal.jsonl"), args.model, args.base_url, read_only=args.dry_run) as journal,
    ):
        pairs = PairTable(args.datasource, draw, journal if journal.end else None)
        if not args.dry_run and args.batch != "status":
            keep_corrections(output, pairs, journal)
        found = survey(pairs, journal, effort, sample=args.preview or 0)
        if args.dry_run:
            print("\n".join(estimate_lines(found, journal, server)))
            return 0
        script.log_settings(args)
        warn_of_open_key(args.base_url)
        missing = found.counts["missing"]
        log.info("%d rows to be paraphrased, %d of them to be asked for", found.counts["flagged"], missing)
        if not args.batch and (journal.open_batches() or journal.submitting):
            raise InputError(
                "some rows are in a batch; run with --batch collect first, so that none is paid for twice."
            )
        if args.preview:
            return show_preview(found, journal, server)
        if args.batch:
            status = batch.run(args.batch, found, journal, server)
            if args.batch == "status" or status or journal.open_batches():
                return status
        else:
            ask_for(found.requests(journal), missing, found, journal, server)
        return finish(args, found, journal, started)


if __name__ == "__main__":
    sys.exit(main())
