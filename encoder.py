"""What an encoder is: the model, its device and arithmetic, its length and prompt, and how texts become vectors.

Used by tuning, applying, precocity and the report alike. In go texts, out come vectors of shape (texts, dimensions).
What cannot be used (no such model, no such device, more tokens than the model has positions for) is an InputError.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from script import InputError, file_digest, log

if TYPE_CHECKING:  # numpy costs 0.1 s: --help must not pay for it
    import numpy as np

WINDOW = 8192  # passages tokenized and sorted together: padding is 1% of the tokens; their tokens take 130 MB
BATCH_TOKENS = {"cpu": 2048, "gpu": 32_768}  # a CPU's caches hold no more; a GPU needs as many to be busy
NOT_THE_MODEL = ("README.md", ".DS_Store")  # files of a model's folder that change nothing; a Mac leaves the second
POSITIONS = ("position_embeddings", "embed_positions", "wpe")  # what architectures call their tables of positions
ENDLESS = 1e6  # tokens; what has no limit says a million, or 1e30
OLD_ADJUSTMENT = "adjustment.safetensors"  # beside the weights of models tuned before the adjustment was part of them


# ---------------------------------------------------------------- device and arithmetic


def pick_device(requested: str) -> str:
    """Return cuda, mps or cpu: what was asked for, else the best there is."""
    import torch

    best = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if requested in ("auto", "cpu", best):
        return best if requested == "auto" else requested
    raise InputError(f"--device {requested}: this machine has none that PyTorch can use; leave the flag out.")


def pick_precision(requested: str, device: str) -> str:
    """Return the arithmetic of training: half precision where the device does it in hardware."""
    import torch

    if requested != "auto":
        return requested
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16"
    processor = getattr(torch.cpu, "get_capabilities", dict)()
    return "bf16" if device == "cpu" and gains_by_bf16(processor) else "fp32"


def pick_inference_precision(requested: str, device: str) -> str:
    """Return the arithmetic of encoding: fp16 on a GPU (finer than bf16, and embeddings don't overflow it)."""
    if requested == "auto" and device != "cpu":
        return "fp16"
    return pick_precision(requested, device)


def gains_by_bf16(processor: dict) -> bool:
    """Tell whether a processor (torch.cpu.get_capabilities()) multiplies matrices faster in bfloat16 than in float32.

    With avx512_bf16, encoding is 2.1 times as fast on an AMD EPYC, but 0.7 times as fast on an Intel Xeon without AMX.
    """
    is_amd = "AMD" in processor.get("cpu_name", "")
    return processor.get("amx_bf16", False) or is_amd and processor.get("avx512_bf16", False)


def autocasting(device: str, precision: str):
    """Return a context manager factory under which encode() computes in that precision."""
    import torch

    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
    return functools.partial(torch.autocast, device, dtype, enabled=precision != "fp32")


# ---------------------------------------------------------------- the model


def load_model(flag: str, name: str, device: str, trust: bool = False, **options):
    """Load a SentenceTransformer quietly. InputError naming the flag where the name leads to no model that embeds.

    Args:
        trust: run the code that the model brings; it can do whatever the user can.
    """
    import transformers
    from sentence_transformers import SentenceTransformer

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    try:
        model = SentenceTransformer(name, device=device, trust_remote_code=trust, **options)
    except Exception as error:  # of whatever kind: a model's own code runs here, too
        if not trust and "trust_remote_code" in str(error):
            fault = "brings code of its own, which can do whatever you can; read it, and if you trust it, pass"
            raise InputError(f"{flag} {name} {fault} --trust-remote-code.") from None
        raise InputError(
            f"{flag} {name} can't be loaded ({told_by(error)}); give a model's folder, or a name of the Hugging Face "
            "hub on a machine that reaches it."
        ) from None
    if getattr(model.tokenizer, "pad_token", "") is None:  # as in GPT-2; the attention mask hides what is padded
        model.tokenizer.pad_token = model.tokenizer.eos_token
    try:
        model.encode(["A passage.", "Another passage, which is longer."], show_progress_bar=False)
    except Exception as error:
        raise InputError(f"{flag} {name} can't embed a passage ({told_by(error)}); choose another model.") from None
    return model


def told_by(error: Exception) -> str:
    """Return what an error of a library says, in one line."""
    first_line = str(error).strip().partition("\n")[0].removesuffix(".")
    return first_line if isinstance(error, OSError | ValueError) else f"{type(error).__name__}: {first_line}"


def check_version(model: str) -> None:
    """Refuse a model that was tuned before the adjustment was part of it."""
    if (Path(model) / OLD_ADJUSTMENT).exists():
        raise InputError(
            f"{model} was tuned by an earlier version, which left the adjustment to others; run TuneEmbeddings.py "
            "again with the same flags and --attention-dropout, which was the default: it puts the adjustment into "
            "the model and trains nothing."
        )


def check_length(model, asked: int | None) -> None:
    """Refuse a --max-seq-length for which the model has no positions, or that it would not heed."""
    if not asked:
        return
    if model.max_seq_length in (None, math.inf):
        raise InputError(f"--max-seq-length {asked}: this model can't cut passages; leave the flag out.")
    for name, table in model[0].named_modules():  # rotary or relative positions need no table
        if not name.endswith(POSITIONS) or not hasattr(table, "num_embeddings"):
            continue
        # RoBERTa numbers positions from padding_idx + 1 on: of 514 rows 512 are usable. BART and OPT have an offset.
        unused = getattr(table, "offset", 0) if table.padding_idx is None else table.padding_idx + 1
        if asked > (longest := table.num_embeddings - unused):
            raise InputError(f"--max-seq-length {asked}: this model has positions for {longest} tokens at most.")


def most_tokens(model) -> float:
    """Return how many tokens of a passage the model reads; infinity where it reads all."""
    most = model.max_seq_length
    return math.inf if most is None or most >= ENDLESS else most


def set_prompt(model, prompt: str | None) -> None:
    """Make the model put a text before each passage, in training and whenever the tuned model is used."""
    if prompt is not None:
        model.prompts, model.default_prompt_name = {"passage": prompt}, "passage"
    elif any(model.prompts.values()) and model.default_prompt_name is None:
        known = "; ".join(f"{name}: {text!r}" for name, text in model.prompts.items() if text)
        log.warning("this model was trained with prompts (%s), and none is used; see --prompt", known)


def own_prompt(model) -> str | None:
    """Return the text that the model puts before whatever it embeds, None where there is none."""
    return model.prompts.get(model.default_prompt_name)


def model_digest(folder: str | Path) -> str:
    """Return a SHA-256 of a model folder's weights and settings, or of its name where it is a hub's."""
    digest = hashlib.sha256()
    paths = Path(folder).rglob("*") if any(Path(folder).glob("*.json")) else ()  # another folder may hold terabytes
    files = sorted(path for path in paths if path.is_file() and path.name not in NOT_THE_MODEL)
    for path in files:
        digest.update(os.fsencode(path.relative_to(folder)))
        digest.update(bytes.fromhex(file_digest(path)))
    return digest.hexdigest() if files else name_digest(str(folder))


def name_digest(name: str) -> str:
    """Return the digest of a model that is known by its name on the hub alone."""
    return hashlib.sha256(name.encode()).hexdigest()


# ---------------------------------------------------------------- texts to vectors


def unit_rows(vectors: np.ndarray) -> np.ndarray:
    """Return the rows with length 1; rows of zeros stay zeros."""
    import numpy as np

    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class EncoderSettings:
    """Which model embeds, and how.

    Attributes:
        batch_size: passages at most, None for as many as BATCH_TOKENS says.
        max_seq_length: tokens, None for the model's own.
        dtype: of the vectors.
        trust: run the code that the model brings.
    """

    model: str
    device: str
    precision: str
    batch_size: int | None
    max_seq_length: int | None
    dtype: str
    trust: bool = False


class Encoder:
    """A model that embeds passages, loaded when the first ones come.

    A window of passages is tokenized by a thread while the one before is computed. Its passages are sorted by tokens,
    so that batches hold hardly any padding. Its vectors are fetched from the device once the next window is on its way.

    Attributes:
        cut: how many passages filled all the tokens the model reads, so that some of them were cut.
        computed: arithmetic and device, once the model is loaded: "fp16 on cuda".
    """

    def __init__(self, settings: EncoderSettings):
        self.settings, self.model, self.cut, self.computed = settings, None, 0, ""

    def load(self) -> None:
        """Load the model onto the device, once; InputError where that can't be."""
        if self.model is not None:
            return
        asked = self.settings
        check_version(asked.model)
        device = pick_device(asked.device)
        precision = pick_inference_precision(asked.precision, device)
        model = load_model("-m", asked.model, device, asked.trust)
        check_length(model, asked.max_seq_length)
        if asked.max_seq_length:
            model.max_seq_length = asked.max_seq_length
        self.is_plain, self.autocast = not reads_tokens(model), autocasting(device, precision)
        if self.is_plain:
            model[0].register_forward_pre_hook(self.count_cut)
        else:
            compute_in(model[0], precision)
            self.told = told_to_layers(model)
        self.model, self.computed = model.eval(), f"{precision} on {device}"
        self.batch_tokens = BATCH_TOKENS["cpu" if device == "cpu" else "gpu"]
        log.info("%s on %s in %s, %s tokens at most", asked.model, device, precision, most_tokens(model))

    def encode(self, texts: list[str], progress) -> np.ndarray:
        """Return the texts' embeddings, float32 or float16, shape (texts, dimensions).

        Args:
            progress: a tqdm bar; its update() is told how many texts are done.
        """
        import numpy as np
        import torch

        self.load()
        if self.is_plain:
            return self.encode_plainly(texts, progress)
        windows = [texts[start : start + WINDOW] for start in range(0, len(texts), WINDOW)]
        vectors, queued = [], []
        with ThreadPoolExecutor(1) as ahead, torch.inference_mode():
            coming = ahead.submit(tokenized, self.model, windows[0])
            for following in [*windows[1:], []]:
                tokens, coming = coming.result(), ahead.submit(tokenized, self.model, following)
                queued.append(self.embed_window(tokens, progress))
                if len(queued) > 1:
                    vectors.append(self.fetch(queued.pop(0)))
            vectors.append(self.fetch(queued.pop()))
        return np.concatenate(vectors)

    def embed_window(self, tokens: list[list[int]], progress):
        """Return the vectors of tokenized passages in their order, a tensor on the device, perhaps not yet computed."""
        import torch

        lengths = [len(ids) for ids in tokens]
        self.cut += sum(length >= most_tokens(self.model) for length in lengths)
        order = sorted(range(len(tokens)), key=lengths.__getitem__, reverse=True)
        vectors = []
        for batch in batches_by_tokens(order, lengths, self.batch_tokens, self.settings.batch_size or len(tokens)):
            features = self.features([tokens[i] for i in batch])
            vectors.append(self.model(features)["sentence_embedding"])
            progress.update(len(batch))
        places = torch.empty(len(order), dtype=torch.long)
        places[order] = torch.arange(len(order))
        return torch.cat(vectors)[places.to(self.model.device)]

    def features(self, batch: list[list[int]]) -> dict:
        """Return the model's input for tokenized passages, on the device.

        Passages of one length need no mask, and without a mask attention is computed by a faster kernel.
        """
        ids, mask = padded(self.model, batch)
        needs_mask = not mask.all() or not type(self.model[0].model).__module__.startswith("transformers.")
        tensors = {"input_ids": ids, "attention_mask": mask} if needs_mask else {"input_ids": ids}
        if self.model.device.type == "cuda":
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        return self.told | {name: tensor.to(self.model.device, non_blocking=True) for name, tensor in tensors.items()}

    def encode_plainly(self, texts: list[str], progress) -> np.ndarray:
        """Return the texts' embeddings by the library's own encode(), for models that read other than tokens."""
        import numpy as np

        vectors = []
        for start in range(0, len(texts), WINDOW):
            part, size = texts[start : start + WINDOW], self.settings.batch_size or 32
            with self.autocast():
                vectors.append(self.model.encode(part, batch_size=size, show_progress_bar=False))
            progress.update(len(part))
        return np.concatenate(vectors).astype(self.settings.dtype)

    def count_cut(self, _, inputs) -> None:
        """Count the passages of a batch of encode() that fill all the tokens there are."""
        mask, most = inputs[0].get("attention_mask"), most_tokens(self.model)
        if mask is not None and mask.shape[1] >= most:
            self.cut += int((mask.sum(dim=1) >= most).sum())

    def fetch(self, vectors) -> np.ndarray:
        """Return vectors from the device, of the dtype that is asked for."""
        return vectors.float().cpu().numpy().astype(self.settings.dtype, copy=False)


def progress_bar(total: int):
    """Return a bar of passages embedded, which tells rate and time left; in a log file it is a line a minute."""
    from tqdm import tqdm

    interval = 1 if sys.stderr.isatty() else 60
    return tqdm(desc="embedded", total=total, unit=" passages", mininterval=interval)


def told_to_layers(model) -> dict:
    """Return what the library tells its layers beside tensors: that these are texts, how long their prompt is.

    It sets up the tokenizer on the way, so it must not run beside the thread that tokenizes.
    """
    features = model.preprocess(["a"], prompt=own_prompt(model))
    return {name: value for name, value in features.items() if not hasattr(value, "shape")}


def reads_tokens(model) -> bool:
    """Tell whether a model's input is what a fast tokenizer makes of a text, and nothing else, as with nearly all."""
    from sentence_transformers.sentence_transformer.modules import Transformer
    from transformers import PreTrainedTokenizerFast

    if not isinstance(model[0], Transformer) or not isinstance(model.tokenizer, PreTrainedTokenizerFast):
        return False
    tensors = {name for name, value in model.preprocess(["a"]).items() if hasattr(value, "shape")}
    return "input_ids" in tensors and tensors <= {"input_ids", "attention_mask", "token_type_ids"}


def tokenized(model, texts: list[str]) -> list[list[int]]:
    """Return each text's token numbers, with those that mark its beginning and end, cut where the model ends."""
    prompt, longest = own_prompt(model) or "", most_tokens(model)
    fast = model.tokenizer.backend_tokenizer  # the library's call takes a third more time
    fast.no_padding()
    fast.no_truncation()
    if longest < math.inf:
        fast.enable_truncation(int(longest), direction=model.tokenizer.truncation_side)
    texts = [prompt + text for text in texts]
    return [encoding.ids for encoding in fast.encode_batch_fast(texts)]


def padded(model, batch: list) -> tuple:
    """Return tokenized texts as long as the longest of them, and their attention mask: int64, (texts, tokens)."""
    import torch

    width, on_the_left = max(map(len, batch)), model.tokenizer.padding_side == "left"
    ids = torch.full((len(batch), width), model.tokenizer.pad_token_id or 0)
    mask = torch.zeros_like(ids)
    for row, own in enumerate(batch):
        here = slice(width - len(own), width) if on_the_left else slice(len(own))
        ids[row, here], mask[row, here] = torch.as_tensor(own), 1
    return ids, mask


def compute_in(transformer, precision: str) -> None:
    """Have the transformer compute in that precision; pooling and what follows get float32."""
    import torch

    if precision == "fp32":
        return
    transformer.to({"bf16": torch.bfloat16, "fp16": torch.float16}[precision])

    def widen(_, __, features):
        features["token_embeddings"] = features["token_embeddings"].float()

    transformer.register_forward_hook(widen)


def batches_by_tokens(order: list[int], lengths: list[int], most_tokens: int, most: int) -> Iterator[list[int]]:
    """Yield passages in batches of at most so many tokens, padding included, and so many passages, at least one.

    Args:
        order: of the passages, the longest first.
    """
    start = 0
    while start < len(order):
        count = max(1, min(most, most_tokens // max(1, lengths[order[start]])))
        yield order[start : start + count]
        start += count
