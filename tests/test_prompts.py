"""prompts.toml and the checks on replies: what may stand in for a passage, and what may not."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import script
from paraphrase import prompts
from paraphrase.checks import clean, count_sentences, verdict_on
from paraphrase.prompts import Prompt, read_prompts

FILE = Path(__file__).resolve().parents[1] / "prompts.toml"
SOURCE = " ".join(f"word{i}" for i in range(60)) + "."
PROMPT = Prompt("p", "Restate it in two or three sentences of your own, keep its meaning.", sentences=(2, 3))
GOOD = "Trade grew in both ports. The nation prospered."
LONG = (
    "The trade of the two ports has grown in the course of this year, and it is to be hoped that the nation will not "
    "forget to whom it owes the peace in which this was done, for it is by the work of many that they are so great."
)


def verdict(text, source=SOURCE, prompt=PROMPT, finish_reason="stop", tokens=0):
    return verdict_on(text, finish_reason, source, prompt, tokens)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (GOOD, "accepted"),
        ("", "empty"),
        (" \n", "empty"),
        ('" "', "empty"),
        ("generate", "empty"),
        ("<think>hm", "thoughts instead of a paraphrase"),
        ("Sure! Trade grew. It grew.", "talks to the user"),
        ("I'm sorry, but no. It is not.", "talks to the user"),
        ("The passage says that trade grew. It grew.", "talks about the passage"),
        ("Condensed passage: trade grew. It grew.", "talks to the user"),
        ("Here is a condensed version: trade grew. It grew.", "talks to the user"),
        ("I cannot help with that. It grew.", "talks to the user"),
        ("The author describes trade. It grew.", "talks about the passage"),
        ("I’m sorry, but I can’t help with that. It grew.", "talks to the user"),
        ("I am sorry, but I cannot help with that. It grew.", "talks to the user"),
        ("Please provide the passage. I will condense it.", "talks to the user"),
        ("I'm unable to assist with this request. It grew.", "talks to the user"),
        ("Unfortunately, I cannot process this. It grew.", "talks to the user"),
        ("As a language model, I cannot do it. It grew.", "talks to the user"),
        ("Absolutely! Trade grew. It grew.", "talks to the user"),
        ("Sure — here is it. It grew.", "talks to the user"),
        ("The user wants it condensed. It grew.", "talks to the user"),
        (f"{GOOD} (Note: I shortened the passage.)", "ends with an offer or question"),
        ("The author was born at Boston. She wrote.", "accepted"),
        ("The article was published in 1837. It was read.", "accepted"),
        ("The passage was dark and narrow. It led down.", "accepted"),
        ("The summary was read aloud. All agreed.", "accepted"),
        ("Of course, the scribes erred. They knew.", "accepted"),
        ("Certainly, no copyist erred. They knew.", "accepted"),
        ("Here are the facts: trade grew. Ports grew.", "accepted"),
        ("Trade grew in both ports. Nations prospered—", "accepted"),
        ("Trade grew in both ports. Nations rest.¹", "accepted"),
        (f"{GOOD} Would you like it shorter?", "ends with an offer or question"),
        (f"{GOOD} Let me know if this serves.", "ends with an offer or question"),
        ("- Trade grew.\n- The nation prospered.", "a list or Markdown"),
        ("1. Trade grew.\n2. The nation prospered.", "a list or Markdown"),
        ("(1) Trade grew. (2) The nation prospered.", "a list or Markdown"),
        ("You've provided a candid account. It is good.", "talks to the user"),
        ("**Trade grew.** The nation prospered.", "a list or Markdown"),
        ("In two or three sentences of your own, keep its meaning. Trade grew.", "repeats the prompt"),
        (SOURCE, "copy of the source"),
        (SOURCE.upper().replace(" ", "  "), "copy of the source"),
        (" ".join(SOURCE.split()[:20]) + ". Trade grew.", "copy of the source"),
        (SOURCE.replace("word", "term"), "not shorter than the source"),
        ("Trade.", "not 0.02 to 1 times as long as the source"),
        ("Trade grew in both ports. The nation", "no end of a sentence at its end"),
        ("Trade grew, nation prospered, ports flourished, towns sang.", "accepted"),
        ("Trade grew. Ports grew. Towns grew. All grew. Men sang.", "not 2 to 3 sentences"),
        ("Торговля выросла в обоих портах. Народ процветал.", "another script"),
        ("Surely the nation will grow. It grew.", "accepted"),
        ("I cannot recommend this bill. It is bad.", "accepted"),
        ("The passage of the bill was delayed. It failed.", "accepted"),
        ("Here is where the treaty began. It ended.", "accepted"),
        ("The sentence was commuted. He lived.", "accepted"),
        ("In 1917 trade grew. He said: “It grew.”", "accepted"),
        ("Trade grew.[12] It grew again (see above).", "accepted"),
    ],
)
def test_verdicts(text, expected):
    source = SOURCE if expected != "not 0.02 to 1 times as long as the source" else SOURCE * 3
    assert verdict(text, source) == expected


def test_what_the_server_says_of_a_reply_counts_first():
    assert verdict(GOOD, finish_reason="length") == "finish reason length"
    assert verdict(GOOD, finish_reason="content_filter") == "finish reason content_filter"
    assert verdict(GOOD, finish_reason=None) == "accepted"
    assert verdict(GOOD, tokens=4096) == "ends with the server's window of 4096 tokens"
    assert verdict(GOOD, tokens=4095) == "accepted"


def test_an_answer_in_another_language_of_the_same_script():
    german = (
        "Der Handel beider Häfen ist in diesem Jahr gewachsen. Man hofft, dass das Volk nicht vergisst, wem es den "
        "Frieden verdankt, in dem dies geschah."
    )
    english = (
        "In this year the trade of both ports grew. It is hoped that the nation will remember to whom it owes peace."
    )
    assert verdict(english, LONG) == "accepted" and verdict(german, LONG) == "another language"
    assert verdict(english, f"{german} {german}") == "another language"
    assert verdict(german, f"{german.upper()} wie nie zuvor {german[::-1]}") != "another language"


def test_what_the_source_itself_does_is_no_fault():
    assert verdict("Will trade grow? Who knows it?", f"{SOURCE[:-1]}?") == "accepted"
    assert verdict("1. Trade grew. It grew much.", f"1. {SOURCE}") == "accepted"
    assert verdict("The text presents Hamlet anew. It errs.", f"The text of Hamlet {SOURCE}") == "accepted"


def test_a_very_short_source_needs_no_shorter_paraphrase():
    assert verdict("Trade has grown since", "Trade grew.") == "accepted"
    assert verdict("Trade grew.", "Trade grew.") == "copy of the source"


def test_a_step_that_changes_a_name_may_repeat_the_rest():
    rename = read_prompts(FILE, "fiction")["rename"]
    assert verdict(SOURCE.replace("word7", "Anna"), SOURCE, rename) == "accepted"
    assert verdict(SOURCE, SOURCE, rename) == "accepted"
    assert verdict(GOOD, SOURCE, rename) == "not the text it was to change"
    assert verdict(SOURCE[:60], SOURCE, rename) == "not 0.7 to 1.3 times as long as the source"
    short = "Mary went out with John. Mary was glad."
    assert verdict("Anna went out with John. Anna was glad.", short, rename) == "accepted"
    assert verdict("There is no named character in this passage.", short, rename) == "not the text it was to change"


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("<think>hm\nhm</think>\nTrade\tgrew.\r\n", "Trade grew."),
        ("hm, hm</think>Trade grew.", "Trade grew."),
        ("Trade\ud83d grew.\0", "Trade? grew."),
        ('"Trade grew."', "Trade grew."),
        ('" Trade grew. "', "Trade grew."),
        ('"\r"', ""),
        ('"Trade" and "war"', '"Trade" and "war"'),
    ],
)
def test_replies_become_one_line(reply, text):
    assert clean(reply) == text


@given(st.text(max_size=200), st.text(max_size=200))
def test_any_reply_gets_a_verdict(reply, source):
    text = clean(reply)
    assert clean(text) == text or text[:1] in '"“'
    assert "\n" not in text and verdict(reply, source)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Mr. Smith met J. B. Jones on p. 3. He left! Was it so? Yes.", 4),
        ("The U.S. Senate met. It voted in 1917. 48 voted aye.", 3),
        ("“Is it so?” she asked. It was…", 2),
        ("彼は来た。彼女は見た。勝った。", 3),
        ("Lieut. Peary met Maj. Powell in Sept. 1891. They left. Jas. Smith, Esq. stayed.", 3),
        ("Cf. Fig. 3 and ch. 4. It is so (ed. 1890). So be it.", 3),
        ("„Ist es so?“ fragte sie. „Ja.“ Čas běžel. Świt.", 4),
        ("वह आया। उसने देखा। वह जीता।", 3),
        ("جاء الرجل. رأى. انتصر.", 3),
        ("no capital. letters at. all.", 1),
        ("", 1),
    ],
)
def test_sentences_are_counted(text, count):
    assert count_sentences(text) == count


# ---- the file


def test_the_sets_that_come_along():
    scholarly, fiction = read_prompts(FILE, "scholarly"), read_prompts(FILE, "fiction")
    assert prompts.to_draw(scholarly) == prompts.to_draw(fiction) == ["condense-2-3", "condense-4-5"]
    assert {scholarly[name].sentences for name in scholarly} == {(2, 3), (4, 5)}
    assert {prompt.then for prompt in fiction.values()} == {"rename", None}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[s.p\n", "can't be read as TOML"),
        ("[other.p]\nsystem = 'x'", "has no prompt set 's'; --prompt-set is one of other"),
        ("[s.p]\nsentences = [1, 2]", "[s.p] needs a text 'system'"),
        ("[s.p]\nsystem = 'x'\nsentence = 3", "unknown field 'sentence'"),
        ("[s.p]\nsystem = 'x'\nsentences = 3", "'sentences' must be a list"),
        ("[s.p]\nsystem = 'x'\nlength = [2, 1]", "'length' must be two numbers"),
        ("[s.p]\nsystem = 'x'\nexamples = [['a']]", "'examples' must be pairs of texts"),
        ("[s.p]\nsystem = 'x'\nthen = 'q'", "'then' must name a prompt of the set"),
        ("[s.p]\nsystem = 'x'\nthen = 'p'", "'then' must name a prompt of the set without 'then'"),
        ("[s]", "holds no prompt to begin with"),
    ],
)
def test_a_fault_in_the_file_is_named(tmp_path, text, complaint):
    path = tmp_path / "prompts.toml"
    path.write_text(text)
    with pytest.raises(script.InputError, match="prompts.toml") as caught:
        read_prompts(path, "s")
    assert complaint in str(caught.value)


def test_examples_are_shown_before_the_passage(tmp_path):
    path = tmp_path / "prompts.toml"
    path.write_text("[s.p]\nsystem = 'Restate.'\nexamples = [['long', 'short']]")
    chat = prompts.messages(read_prompts(path, "s")["p"], "passage")
    roles = [(one["role"], one["content"]) for one in chat]
    assert roles == [("system", "Restate."), ("user", "long"), ("assistant", "short"), ("user", "passage")]
