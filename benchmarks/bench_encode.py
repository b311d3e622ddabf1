"""Measure the embedding of passages against the library's own encode().

All ways take turns in one process, several times; of each the least time counts: of the processor on a CPU, by the
clock on a GPU. Stock is sentence-transformers' encode() in float32, batches of 32. Beside it on a GPU: half weights,
batches of 128. The loop before this one: autocast, slices of 2,048, batches of 32. Ours includes reading the chunk
files, checks, and writing the decade's file. On a GPU the table also tells the share of its rate of matrix products.

Without --model, the encoder has the shape of all-distilroberta-v1 and random weights, and the passages are synthetic.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the scripts lie one folder up

import numpy as np  # noqa: E402
import synthetic  # noqa: E402
import torch  # noqa: E402
import tqdm  # noqa: E402

import corpus  # noqa: E402
from embedding import Embedding  # noqa: E402
from encoder import Encoder, EncoderSettings, autocasting, load_model, pick_device, pick_inference_precision  # noqa: E402

OLD_SLICE, OLD_BATCH = 2048, 32


def write_corpus(folder: Path, passages: int) -> list[str]:
    """Write chunk files of 20 passages, between half and all of WORDS long, of one decade; return all passages."""
    words, dice = synthetic.vocabulary(), np.random.default_rng(0)
    cumulative = synthetic.zipfian()
    (folder / "chunks").mkdir()
    rows, texts = ["paperId\tyear"], []
    for i in range(-(-passages // synthetic.PASSAGES)):
        own = synthetic.document_texts(1900, words, cumulative, dice)
        own = [" ".join(text.split()[: dice.integers(synthetic.WORDS // 2, synthetic.WORDS + 1)]) for text in own]
        own = own[: passages - len(texts)]
        (folder / f"chunks/d{i}.txt").write_text("".join(f"{j}\t{text}\n" for j, text in enumerate(own)))
        rows.append(f"d{i}\t1900")
        texts += own
    (folder / "metadata.tsv").write_text("\n".join(rows) + "\n")
    return texts


class Ways:
    """The ways of embedding the same passages; each call returns the vectors."""

    def __init__(self, folder: Path, texts: list[str], model: str, device: str):
        self.folder, self.texts, self.name, self.device = folder, texts, model, device
        self.half = pick_inference_precision("auto", device) if device != "cpu" else "bf16"
        self.kept = {}

    def model(self, half: bool = False):
        """Return the model, loaded once, with half weights or whole ones."""
        if half not in self.kept:
            model = load_model("--model", self.name, self.device)
            self.kept[half] = model.half() if half else model
        return self.kept[half]

    def stock(self):
        return self.model().encode(self.texts, batch_size=32, show_progress_bar=False)

    def half_weights(self):
        return self.model(half=True).encode(self.texts, batch_size=128, show_progress_bar=False)

    def before(self):
        """The loop of this project until November 2026."""
        parts, computing = [], autocasting(self.device, self.half)
        for start in range(0, len(self.texts), OLD_SLICE):
            with computing():
                part = self.texts[start : start + OLD_SLICE]
                parts.append(self.model().encode(part, batch_size=OLD_BATCH, show_progress_bar=False))
        return np.concatenate(parts)

    def ours(self, precision: str):
        """Read, embed and write as Apply_Tuned_Model.py does, the model being loaded."""
        if precision not in self.kept:
            self.kept[precision] = Encoder(EncoderSettings(self.name, self.device, precision, None, None, "float32"))
            self.kept[precision].load()
        output = self.folder / f"out-{time.monotonic_ns()}"
        output.mkdir()
        documents, _ = corpus.read_metadata(self.folder / "metadata.tsv")
        settings = {"format": "parquet", "dtype": "float32"}
        chunks = corpus.ChunkFolder(self.folder / "chunks")
        Embedding(output, chunks, self.kept[precision], settings).make(corpus.by_decade(documents))
        return corpus.read_embeddings(output / "1900.parquet")[2]

    def all(self) -> dict:
        ways = {"stock, float32, batches of 32": self.stock, f"the loop before, {self.half}": self.before}
        if self.device != "cpu":
            ways["half weights, batches of 128"] = self.half_weights
        return ways | {f"ours, {precision}": lambda p=precision: self.ours(p) for precision in ("fp32", self.half)}


def measure(ways: dict, turns: int, is_cpu: bool) -> tuple[dict, dict]:
    """Return the least seconds of each way after one turn that doesn't count, and its vectors."""
    clock, least, vectors = time.process_time if is_cpu else time.perf_counter, {}, {}
    for turn in range(turns + 1):
        for name, way in ways.items():
            before = clock()
            vectors[name] = way()
            if turn:
                least[name] = min(least.get(name, np.inf), clock() - before)
    return least, vectors


def flops(model, lengths: list[int]) -> float:
    """Return the floating point operations of the layers for passages of so many tokens."""
    config = model[0].model.config
    h, i = config.hidden_size, config.intermediate_size
    return sum(config.num_hidden_layers * n * (2 * (4 * h * h + 2 * h * i) + 4 * n * h) for n in lengths)


def matrix_rate(device: str) -> float:
    """Return the device's own floating point operations a second in half-precision matrix products."""
    n = 8192
    one = torch.randn(n, n, device=device, dtype=torch.float16)
    for _ in range(3):
        one @ one
    torch.cuda.synchronize()
    before = time.perf_counter()
    for _ in range(20):
        one @ one
    torch.cuda.synchronize()
    return 20 * 2 * n**3 / (time.perf_counter() - before)


def main(argv: list[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = arguments.add_argument
    add("--model", help="folder of a sentence-transformers model (default: random weights)")
    add("--passages", type=int, help="(default 40 on a CPU, 40,000 on a GPU)")
    add("--turns", type=int, default=3, help="(default %(default)s)")
    add("--device", default="auto", help="(default %(default)s)")
    add("--threads", type=int, default=1, help="of PyTorch on a CPU (default %(default)s)")
    args = arguments.parse_args(argv)
    device = pick_device(args.device)
    is_cpu = device == "cpu"
    torch.set_num_threads(args.threads)
    tqdm.tqdm.monitor_interval = 0
    logging.disable()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        texts = write_corpus(folder, args.passages or (40 if is_cpu else 40_000))
        model = args.model or str(synthetic.make_encoder(folder / "model", hidden=768, layers=6))
        ways = Ways(folder, texts, model, device)
        seconds, vectors = measure(ways.all(), args.turns, is_cpu)
        loaded = ways.model()
        lengths = [min(len(ids), loaded.max_seq_length) for ids in loaded.tokenizer(texts, verbose=False)["input_ids"]]
        work = flops(loaded, lengths)
        rate = None if is_cpu else matrix_rate(device)
    card = torch.cuda.get_device_name() if device == "cuda" else f"{args.threads} threads"
    print(f"{platform.machine()}, {os.cpu_count()} cores, {card}, {time.strftime('%Y-%m-%d')}, load "
          f"{os.getloadavg()[0]:.1f}; {len(texts):,} passages of {np.mean(lengths):.0f} tokens on average, "
          f"least of {args.turns}\n")  # fmt: skip
    print("| way | s | passages a second | times stock | least cosine to stock | share of the matrix rate |")
    print("|---|---|---|---|---|---|")
    stock = next(iter(seconds))
    for name, one in seconds.items():
        cosine = np.einsum("ij,ij->i", vectors[name], vectors[stock]).astype(float)
        cosine /= np.linalg.norm(vectors[name], axis=1) * np.linalg.norm(vectors[stock], axis=1)
        share = f"{work / one / rate:.2f}" if rate else ""
        print(f"| {name} | {one:.2f} | {len(texts) / one:.1f} | **{seconds[stock] / one:.2f}** | {cosine.min():.5f} | "
              f"{share} |")  # fmt: skip


if __name__ == "__main__":
    main()
