"""Whether a reply can serve as a paraphrase.

In: a reply as it came, its source, and its prompt. Out: ACCEPTED, or the reason against it in a few words, which the
journal keeps; and the reply as one clean line.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache

import regex

from corpus import TO_GENERATE
from paraphrase.leftovers import texts_in
from paraphrase.prompts import Prompt

ACCEPTED = "accepted"
SHORT_SOURCE = 30  # words; a passage this short can hardly be condensed: length, sentences and ending aren't checked
MOST_SHARED_RUN = 0.5  # of a reply's words may stand in one run in the source, or it is a copy
ECHO = 8  # words in a row that a reply shares with its prompt
SENTENCE_SLACK = 1
WINDOWS = {2**n for n in range(11, 18)}  # tokens; a call that ends just there was cut off, its source perhaps as well

# English function words: a third of any English prose, a tenth at most of French, German or Dutch. They tell an answer
# in another language where both use the Latin script.
FUNCTION_WORDS = frozenset(
    "the of and to in that is was it for as with his he be on by not but are or an at from had have which this were "
    "their they all its has been who would there when them will more no if".split()
)
MUCH_ENGLISH, LITTLE_ENGLISH = 0.25, 0.13  # of the words

# How a reply begins that speaks to the user. Narrow on purpose: "The passage of the bill", "I cannot recommend" and
# "Certainly, no copyist" are ordinary prose.
CHAT_FRAME = re.compile(
    r"(sure|okay|absolutely)\b ?[,!.:—–]|(certainly|of course)[!:]"
    r"|i('m| am) (sorry|unable)|i apologi[sz]e|as an? (ai|(large )?language model)\b|unfortunately, i\b"
    r"|i can(no|')t (help|assist|fulfil|provide|comply|paraphrase|rewrite|summari[sz]e|condense|process)"
    r"|please (provide|share|paste)|the user (wants|asks|has|is)|you('ve| have) provided|your (passage|text)\b"
    r"|here('s| is| are) (the|a|an|your|my|some) (\w+ ){0,4}"
    r"(passage|text|version|summary|paraphrase|paragraph|sentences)\b"
    r"|(condensed|revised|summary|rewritten)\b[^.]{0,30}:|in (rewriting|condensing|revising)\b",
    re.IGNORECASE,
)
# And one that speaks about the passage, unless the source itself has that noun.
ABOUT_IT = re.compile(
    r"(?:in this (?P<where>passage|text), )?(?:the|this) "
    r"(?P<noun>passage|text|paragraph|excerpt|author|writer|speaker) (?:\w+ly |also )?"
    r"(?:can be|could be|says|states|describes|discusses|provides|explains|outlines|highlights|aims|conveys|mentions"
    r"|emphasi[sz]es|suggests|presents|appears|seems|is (?:about|concise|a (?:clear|concise|summary)))\b",
    re.IGNORECASE,
)
OFFER = re.compile(
    r"let me know|would you like|feel free|hope (this|that|it) helps|if you('d| would)? (like|need|want|prefer)"
    r"|\(?note: ",
    re.IGNORECASE,
)
MARKUP = re.compile(r"^\s*(#{1,6} |[-*•] |\(?\d{1,2}[.)] )|\*\*|^```", re.MULTILINE)
# Why a server says that a reply isn't whole; all else it may say (stop, eos_token, END_TURN …, or nothing) means whole.
CUT_OFF = re.compile(
    r"len|max|limit|context|window|filter|safety|sensitiv|recit|block|prohibit|spii|guard|toxic|policy|violat|refus|error"
    r"|fail|abort|cancel|pause|time_?out|insufficient|(un|not_?)finished|incomplete|tool|function|malformed|language|other",
    re.IGNORECASE,
)
TERMINAL, CLOSERS = r"[\p{Sentence_Terminal}…]", r"""["'\p{Pe}\p{Pf}\p{Pi}]*"""  # of every script
SENTENCE_END = regex.compile(rf"""[.!?…]+{CLOSERS}\s+|[^\P{{Sentence_Terminal}}.!?]+{CLOSERS}\s*""")
# Letters of scripts that put no space between words (Chinese, Japanese, Thai, Khmer …), by how Unicode breaks lines.
UNSPACED = regex.compile(r"[\p{L}&&[\p{lb=ID}\p{lb=CJ}\p{lb=SA}]]", regex.V1)
BETWEEN_WORDS = regex.compile(r"[\s[\p{lb=BA}&&\p{Po}]]+", regex.V1)  # spaces, or Tibetan's tsheg
LETTERS_A_WORD = 2  # of such a script, roughly
OPENERS = "\"'“‘„«»([¿¡—– "
NO_END = re.compile(
    r"\W*(Mr|Mrs|Ms|Messrs|Mme|Mlle|Dr|St|Prof|Rev|Gen|Lieut|Lt|Maj|Col|Capt|Sgt|Hon|Gov|Sen|Esq|Jr|Sr|Bros|Co|Inc|Wm|Thos"
    r"|Chas|Geo|Jas|Nos?|[Vv]ols?|[Ff]igs?|[Cc]hs?|[Cc]hap|[Ee]ds?|pp?|ca|[Cc]f|vs|viz|etc|e\.g|i\.e|Jan|Feb|Mar|Apr|Aug"
    r"|Sept?|Oct|Nov|Dec|([A-Z]\.)*[A-Z])"
)
LAST = regex.compile(rf"""(?:{TERMINAL}|[—–]){CLOSERS}([\[(]?\d{{1,3}}[\])]?|[¹²³⁰⁴-⁹]+)?$""")


def clean(reply: str, source: str = "") -> str:
    """Return a reply as one line, without thoughts, a chat template's tokens or quotation marks around the whole."""
    text = " ".join(" ".join(texts_in(reply, source)).split())
    if len(text) > 2 and text[0] + text[-1] in ('""', "“”") and not set(text[1:-1]) & set('"“”'):
        text = text[1:-1].strip()
    return text


def verdict_on(reply: str, finish_reason: str | None, source: str, prompt: Prompt, tokens: int = 0) -> str:
    """Return ACCEPTED, or why a reply as it came can't serve as the source's paraphrase.

    Args:
        tokens: of the call in all, by the server's count; 0 where it told none.
    """
    text = clean(reply, source)
    plain = text.replace("’", "'")
    if CUT_OFF.search(str(finish_reason or "")):
        return f"finish reason {finish_reason}"
    if not text or text == TO_GENERATE:
        return "empty" if text or not reply.strip('\0\t\r\n "“”') else "thoughts instead of a paraphrase"
    if tokens in WINDOWS:
        return f"ends with the server's window of {tokens} tokens"
    return (
        fault_of_address(plain, source.replace("’", "'"))
        or fault_of_form(reply, text, source, prompt)
        or fault_of_copying(text, source, prompt)
        or fault_of_length(text, source, prompt)
        or fault_of_language(text, source)
        or ACCEPTED
    )


def fault_of_address(text: str, source: str) -> str | None:
    """Return whether a reply speaks to the user or about the passage instead of restating it; or None."""
    if CHAT_FRAME.match(text) and not CHAT_FRAME.match(source):
        return "talks to the user"
    about = ABOUT_IT.match(text)
    if about and (about["noun"].lower() not in bare_words(source) or about["where"]):
        return "talks about the passage"
    last = text[([0, *sentence_ends(text)])[-1] :]
    if (text.endswith("?") and "?" not in source) or (OFFER.search(last) and not OFFER.search(source)):
        return "ends with an offer or question"
    return None


def fault_of_form(reply: str, text: str, source: str, prompt: Prompt) -> str | None:
    """Return what is wrong with how a reply is put: thoughts, a list, the prompt itself; or None."""
    told = texts_in(reply, source)
    if len(told) > 1:
        return "tokens of a chat template or tags in its text"
    if MARKUP.search(told[0]) and not MARKUP.search(source):
        return "a list or Markdown"
    if shares_run(bare_words(text), bare_words(prompt.system), ECHO):
        return "repeats the prompt"
    return None


def fault_of_copying(text: str, source: str, prompt: Prompt) -> str | None:
    """Return whether a reply repeats its source, or None."""
    words, source_words = bare_words(text), bare_words(source)
    if prompt.may_copy:
        known = sum(word in set(source_words) for word in words)
        return None if known >= MOST_SHARED_RUN * len(words) else "not the text it was to change"
    if words == source_words:
        return "copy of the source"
    if len(source_words) > SHORT_SOURCE and shares_run(words, source_words, int(MOST_SHARED_RUN * len(words)) + 1):
        return "copy of the source"
    return None


def fault_of_length(text: str, source: str, prompt: Prompt) -> str | None:
    """Return whether a reply is too long, too short, of too many or few sentences, or cut off; or None."""
    words, source_words = count_words(text), count_words(source)
    if source_words <= SHORT_SOURCE and not prompt.may_copy:
        return None
    least, most = prompt.length
    if words >= source_words and most <= 1:
        return "not shorter than the source"
    if not least * source_words <= words <= most * source_words:
        return f"not {least:g} to {most:g} times as long as the source"
    if not ends_sentences(text + source):
        return None
    if not LAST.search(text):
        return "no end of a sentence at its end"
    if prompt.sentences is not None:
        least, most = prompt.sentences
        if not least - SENTENCE_SLACK <= count_sentences(text) <= most + SENTENCE_SLACK:
            return f"not {least} to {most} sentences"
    return None


def fault_of_language(text: str, source: str) -> str | None:
    """Return whether a reply is in another script than its source, or one of them only is English; or None."""
    if script_of(text) != script_of(source):
        return "another script"
    rates = [share_of_function_words(one) for one in (text, source)]
    if min(rates) < LITTLE_ENGLISH and max(rates) >= MUCH_ENGLISH and len(text.split()) >= 10:
        return "another language"
    return None


@lru_cache(maxsize=8)  # a source's and a reply's are needed by several checks
def bare_words(text: str) -> tuple[str, ...]:
    """Return the words in lower case without punctuation."""
    return tuple(re.findall(r"\w+", text.lower()))


def shares_run(words: tuple[str, ...], others: tuple[str, ...], length: int) -> bool:
    """Tell whether `length` words in a row of the first text stand in a row in the second."""
    joined, half = f" {' '.join(others)} ", max(1, length // 2)

    def stand(start: int, count: int) -> bool:
        return f" {' '.join(words[start : start + count])} " in joined

    # Any run that long holds a whole block of half its length: where no block is found, nothing longer need be tried.
    if not any(stand(start, half) for start in range(0, len(words) - half + 1, half)):
        return False
    return any(stand(start, length) for start in range(len(words) - length + 1))


def count_words(text: str) -> int:
    """Return the number of words; where a script puts no space between them, of every two letters."""
    letters = len(UNSPACED.findall(text))
    return len(BETWEEN_WORDS.sub(" ", UNSPACED.sub("", text)).split()) + letters // LETTERS_A_WORD


def ends_sentences(text: str) -> bool:
    """Tell whether a text marks where its sentences end. Thai does not; its full stops belong to abbreviations."""
    marks = set(regex.findall(TERMINAL, text))
    return bool(marks - set(".!?") if len(UNSPACED.findall(text)) > len(text) / 2 else marks)


def count_sentences(text: str) -> int:
    """Return the number of sentences, by their punctuation; an initial or a title such as Mr. ends none."""
    return len(sentence_ends(text)) + 1


def sentence_ends(text: str) -> list[int]:
    """Return where sentences after the first begin: behind a full stop, before a letter that is no small one."""
    ends = []
    for end in SENTENCE_END.finditer(text):
        word = text[text.rfind(" ", 0, end.start()) + 1 : end.start()]
        begins = text[end.end() : end.end() + 8].lstrip(OPENERS)[:1]
        if begins and not begins.islower() and (end[0][0] != "." or not NO_END.fullmatch(word)):
            ends.append(end.end())
    return ends


def script_of(text: str) -> str | None:
    """Return the script of most letters by its Unicode name (LATIN, CYRILLIC, CJK …); None without letters."""
    scripts = Counter()
    for letter, count in Counter(text[:1000]).items():
        if letter.isalpha():
            name = unicodedata.name(letter, "?").split()[0]
            scripts["CJK" if name in ("HIRAGANA", "KATAKANA") else name] += count
    return scripts.most_common(1)[0][0] if scripts else None


def share_of_function_words(text: str) -> float:
    """Return how many of the words are English function words, from 0 to 1."""
    words = bare_words(text)
    return sum(word in FUNCTION_WORDS for word in words) / max(1, len(words))
