"""What the model is told: the prompts of prompts.toml.

In: the file and the name of one of its sets. Out: Prompt objects by name, and the chat that asks for a paraphrase.
InputError for a file that can't be used; the message names the prompt and the field.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import NamedTuple

from script import InputError, first_few, regular_file


class Prompt(NamedTuple):
    """One prompt of a set; prompts.toml says what the fields mean."""

    name: str
    system: str
    sentences: tuple[int, int] | None = None
    length: tuple[float, float] = (0.02, 1.0)
    may_copy: bool = False
    then: str | None = None
    examples: tuple[tuple[str, str], ...] = ()


KINDS = {"system": str, "sentences": list, "length": list, "may_copy": bool, "then": str, "examples": list}


def read_prompts(path: str | Path, chosen: str) -> dict[str, Prompt]:
    """Return a set of prompts by name.

    Raises:
        InputError: not TOML, no such set, or a prompt with a field that is missing, unknown or of the wrong kind.
    """
    try:
        sets = tomllib.loads(regular_file(path).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} can't be read as TOML ({error}); mend that place.") from None
    if chosen not in sets or not isinstance(sets[chosen], dict):
        raise InputError(f"{path} has no prompt set {chosen!r}; --prompt-set is one of {first_few(list(sets))}.")
    prompts = {name: read_prompt(f"{path}, [{chosen}.{name}]", name, told) for name, told in sets[chosen].items()}
    for prompt in prompts.values():
        if prompt.then is not None and (prompt.then not in prompts or prompts[prompt.then].then is not None):
            raise InputError(f"{path}, [{chosen}.{prompt.name}]: 'then' must name a prompt of the set without 'then'.")
    if not to_draw(prompts):
        raise InputError(f"{path}: the set {chosen!r} holds no prompt to begin with.")
    return prompts


def read_prompt(where: str, name: str, told) -> Prompt:
    """Return one prompt. InputError where a field is missing, unknown or of the wrong kind."""
    if not isinstance(told, dict) or not str(told.get("system") or "").strip():
        raise InputError(f"{where} needs a text 'system': what the model is told.")
    for field, value in told.items():
        if field not in KINDS:
            raise InputError(f"{where}: unknown field {field!r}; they are {', '.join(KINDS)}.")
        if not isinstance(value, KINDS[field]):
            raise InputError(f"{where}: {field!r} must be a {KINDS[field].__name__}.")
    for field in ("sentences", "length"):
        bounds = told.get(field, [0, 1])
        if len(bounds) != 2 or not all(isinstance(n, int | float) for n in bounds) or bounds[0] > bounds[1]:
            raise InputError(f"{where}: {field!r} must be two numbers, [least, most].")
    for example in told.get("examples", ()):
        if not (isinstance(example, list) and len(example) == 2 and all(isinstance(text, str) for text in example)):
            raise InputError(f"{where}: 'examples' must be pairs of texts, [[passage, reply], …].")
    return Prompt(name, **{field: tuple(value) if isinstance(value, list) else value for field, value in told.items()})


def to_draw(prompts: dict[str, Prompt]) -> list[str]:
    """Return the names of the prompts that a row may get, sorted: all but those that only follow another."""
    return sorted(prompts.keys() - {prompt.then for prompt in prompts.values()})


def wording(prompt: Prompt) -> str:
    """Return all that the model is told besides the source."""
    return "\t".join([prompt.system, *(text for example in prompt.examples for text in example)])


def messages(prompt: Prompt, source: str) -> list[dict[str, str]]:
    """Return the chat that asks for a paraphrase of the source."""
    chat = [{"role": "system", "content": prompt.system}]
    for passage, reply in prompt.examples:
        chat += [{"role": "user", "content": passage}, {"role": "assistant", "content": reply}]
    return [*chat, {"role": "user", "content": source}]
