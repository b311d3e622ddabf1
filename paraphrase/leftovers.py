"""What servers leave in a reply's content besides the reply: thoughts, tokens of a chat template, names of roles.

In: a reply as it came, and its source. Out: what the model says in it: one text if all is well. Marks are known by
their form, as each model has its own; one that stands in the source, too, is text.
"""

from __future__ import annotations

import re

SAID, THOUGHT, OTHERS = "said", "thought", "others"  # what a stretch of a reply may be: others' are turns of a chat
NAMES = {
    THOUGHT: r"think\w*|thoughts?|reason\w*|reflect\w*|(?:assistant)?(?:analysis|commentary)|scratch\w*|\w*monologue",
    OTHERS: r"user|human|system|sys|developer|tools?|function|ipython|environment",
    SAID: r"assistant|chatbot|bot|ai|model|gpt|(?:assistant)?final|answer|response|output|solution",
}
NAMED = {kind: re.compile(rf"(?:\b|_)(?:{names})(?:\b|_)", re.IGNORECASE) for kind, names in NAMES.items()}
NAME = "|".join(NAMES.values())
MARK = re.compile(
    r"<[|｜][^<>\n]{1,60}>|<[^\s<>|｜][^<>\n]{0,60}[|｜]>|<[|｜]\S*$"  # <|im_end|>, <|channel>, <channel|>, <|im_e
    r"|<{1,2}/?[^\W\d][\w.:/-]{0,40}(?: [^<>\n]*=[^<>\n]*)?>{1,2}|<0x[0-9A-F]{2}>"  # <think>, </s>, <<SYS>>
    r"|\[[|｜][^\[\]\n]{1,40}[|｜]\]|\[/?g?[A-Z_]{3,30}\]|◁[^◁▷\n]{1,40}▷"  # [|endofturn|], [/INST], [THINK], ◁/think▷
    r"|(?im:^[ \t]*(?:user|human|assistant|chatbot|ai|system|(?:final )?answer)[ \t]*:)"  # in plain words
    r"|assistant(?:final|analysis|commentary)(?=[^\W\d_a-z])"  # <|start|>assistant<|channel|>final, without its tokens
)
CLOSING = re.compile(r"[<\[◁]{1,2}[|｜]?/|<[^|｜].*[|｜]>$|.*(?:\b|_)end(?:\b|_)")
# How a stretch begins that says whose it is: "assistant" on a line of its own, "Answer:", "analysisThe passage …".
LEAD = re.compile(
    rf"\s*(?:(?i:(?:final +)?(?P<line>{NAME})(?: to=[^\n]*)?\s*(?:\n|$|:|\.\.\.|…))"
    rf"|(?P<glued>{NAME}) *(?=[^\W\d_a-z]|[\"“]))"
)


def texts_in(reply: str, source: str = "") -> list[str]:
    """Return the stretches of a reply that the model says, in order; more than one where marks stand between them."""
    reply = reply.replace("\0", "").encode("utf-8", "replace").decode()  # JSON may hold half a surrogate pair
    kept, whose, begin, known, block = [], SAID, 0, source.lower().lstrip(), False
    for mark in MARK.finditer(reply):
        name = mark[0].strip().lower()
        kind, ends = kind_of(name), CLOSING.match(name)
        opens = not reply[: mark.start()].strip() and not known.startswith(name)
        if name in known and not (kind == THOUGHT and (block or opens)):
            continue
        whose, text = whose_words(reply[begin : mark.start()], whose, known)
        kept += [text] if whose == SAID and text.strip() else []
        begin = mark.end()
        if kind == THOUGHT:
            if ends and whose != THOUGHT:
                kept.clear()  # some chat templates put the opening mark into the prompt
            block = not ends
        if kind or (text.strip() and not block):  # a mark without a name ends what comes before it
            whose = SAID if ends else kind or SAID
    whose, text = whose_words(reply[begin:], whose, known)
    return kept + ([text] if whose == SAID and text.strip() else [])


def whose_words(text: str, whose: str, known: str) -> tuple[str, str]:
    """Return whose a stretch is, by the word it begins with or else by what came before; and it without that word."""
    while lead := LEAD.match(text):
        word = lead[0].strip().lower()
        if known.startswith(word) or (":" in word and word in known):
            break
        whose, text = kind_of(lead["line"] or lead["glued"]), text[lead.end() :]
    return whose, text


def kind_of(name: str) -> str | None:
    """Return whose words follow a mark or name; None where it doesn't tell."""
    return next((kind for kind, names in NAMED.items() if names.search(name)), None)
