"""What servers leave in a reply's content, what they say of its end, and sentences and lengths in any script."""

import pytest
from openai_server import Answer, completion, shorten
from test_generator import FLAGGED, journal_of, run, table  # noqa: F401 (a fixture)
from test_prompts import GOOD, PROMPT, verdict

import corpus
from paraphrase.checks import clean, count_sentences, count_words, verdict_on
from paraphrase.leftovers import texts_in

HM = "Okay, it is about trade. Keep it brief."


@pytest.mark.parametrize("reason", ["stop", "eos", "EOS_TOKEN", "end_turn", "COMPLETE", "REASON_STOP", "", None])
def test_a_word_for_a_whole_reply_is_no_reason_against_it(reason):
    assert verdict(GOOD, finish_reason=reason) == "accepted"


@pytest.mark.parametrize(
    "reason",
    "length MAX_TOKENS model_length token_limit model_context_window_exceeded content_filter content_filtered "
    "SAFETY RECITATION PROHIBITED_CONTENT refusal tool_calls error ERROR_TOXIC abort insufficient_system_resource "
    "time_limit not_finished guardrail_intervened".split(),
)
def test_a_word_for_a_reply_that_was_cut_off_is(reason):
    assert verdict(GOOD, finish_reason=reason) == f"finish reason {reason}"


@pytest.mark.parametrize(
    "reply",
    [
        f"<THINKING>\n{HM}\n</THINKING>\n\n{GOOD}",
        f"<thought>{HM} <b>Trade</b>!</thought> {GOOD}",
        f"<seed:think>{HM}</seed:think>{GOOD}",
        f"◁think▷{HM}◁/think▷{GOOD}",
        f"<|think|>{HM}<|/think|>{GOOD}",
        f"<|START_THINKING|>{HM}<|END_THINKING|><|START_RESPONSE|>{GOOD}<|END_RESPONSE|>",
        f"<|channel>thought\n{HM}<channel|>{GOOD}<turn|>",
        f"<unused94>thought\n{HM}<unused95>{GOOD}",
        f"{HM}</reasoning>{GOOD}",
        f"analysis{HM}assistantfinal{GOOD}",
        f"<|start|>assistant<|channel|>final<|message|>{GOOD}<|return|>",
        f"<|start_header_id|>assistant<|end_header_id|>\n\n{GOOD}<|eot_id|>",
        f"<｜Assistant｜>{GOOD}<｜end▁of▁sentence｜>",
        f"[|assistant|]{GOOD}[|endofturn|]",
        f"{GOOD}<|im_end|>\n<|im_start|>user\nGo on.<|im_end|>",
        f"<s>[INST] [/INST] {GOOD}</s>",
        f"<paraphrase>{GOOD}</paraphrase>",
        f"{GOOD}\n\nHuman: Go on.",
        f"{GOOD}<|im_e",
        f"Assistant: {GOOD}",
        f"model\n{GOOD}",
        f"assistant{GOOD}",
        f"Final answer: {GOOD}",
        f"Thinking...\n{HM}\n\nAnswer: {GOOD}",
    ],
)
def test_only_what_the_model_says_stays(reply):
    assert clean(reply) == GOOD and verdict(reply) == "accepted"


@pytest.mark.parametrize(
    "reply",
    [
        f"[THINK]{HM}",
        f"analysis{HM}",
        f"<|channel|>analysis<|message|>{HM}",
        f"Reasoning: {HM}",
        f"<reflection>The <i>trade</i> of {HM}",
    ],
)
def test_thoughts_without_an_end_are_no_paraphrase(reply):
    assert clean(reply) == "" and verdict(reply) == "thoughts instead of a paraphrase"


@pytest.mark.parametrize(
    "reply", [f"{GOOD}<0x0A>{GOOD}", f"{GOOD}\nUser: So?\nAI: {GOOD}", "Trade <i>grew</i>. It grew."]
)
def test_marks_between_texts_are_a_fault(reply):
    assert verdict(reply) == "tokens of a chat template or tags in its text"


@pytest.mark.parametrize(
    ("source", "reply"),
    [
        ("A prompt may hold <s> or [INST], or <|sep|>.", "Prompts hold <s>, [INST] and <|sep|> marks."),
        ("Its thoughts stand in <think> and </think>.", "The tags <think> and </think> enclose what it thinks."),
        ("Assistant: It is late.\nHuman: It is.", "Human: he spoke. Assistant: she did."),
        ("The model was new.", "Model airplanes sold well. AI did, too."),
        ("It was <5 and later >6, see [NOTE].", "At x<y and z>w see [NOTE]."),
        ("Analysis: the ore is poor.", "Analysis: poor ore."),
    ],
)
def test_what_a_passage_has_itself_stays_in_its_paraphrase(source, reply):
    assert texts_in(reply, source) == [reply]


def test_thoughts_are_no_text_even_where_the_passage_is_about_them():
    source = "Models that reason put their thoughts between <think> and </think>."
    assert clean("<think>hm</think>Thoughts stand between <think> and </think>.", source) == (
        "Thoughts stand between <think> and </think>."
    )


def test_no_thought_reaches_the_table(table, server):  # noqa: F811
    server.reply = lambda request: Answer(
        200, completion(request, f"<|begin_of_thought|>{HM}<|end_of_thought|>{shorten(request)}<|eot|>", "eos_token")
    )
    status, rows = run(table, server)
    assert status == 0 and len(server.requests) == FLAGGED
    assert not any("Okay" in row[cell] or "<|" in row[cell] for row in rows for cell in ("anchor", "positive"))
    assert not any("Okay" in entry["text"] for entry in journal_of(table))


def test_parts_of_a_content_that_are_thoughts_are_left_out(table, server):  # noqa: F811
    server.reply = lambda request: (
        200,
        completion(request, [{"type": "thinking", "text": HM}, {"type": "reasoning", "text": HM}, shorten(request)]),
    )
    status, rows = run(table, server)
    assert status == 0 and not any("Okay" in row["anchor"] + row["positive"] for row in rows)


# ---- scripts

SENTENCES = {  # three short sentences
    "Armenian": "Առևտուրը աճեց։ Քաղաքը հարստացավ։ Ժողովուրդը գոհ էր։",
    "Amharic": "ንግዱ አደገ። ከተማው በለጸገ። ሕዝቡ ደስ አለው።",
    "Burmese": "ကုန်သွယ်မှု တိုးတက်ခဲ့သည်။ မြို့ ချမ်းသာခဲ့သည်။ လူများ ပျော်ခဲ့သည်။",
    "Khmer": "ពាណិជ្ជកម្មបានកើនឡើង។ ទីក្រុងមានទ្រព្យ។ ប្រជាជនសប្បាយ។",
    "Syriac": "ܬܓܪܬܐ ܪܒܬ܂ ܡܕܝܢܬܐ ܥܬܪܬ܂ ܥܡܐ ܚܕܝ܂",
    "Japanese": "貿易は伸びた。町は豊かになった。「人々は喜んだ。」",
    "Persian": "تجارت رشد کرد. شهر ثروتمند شد؟ مردم شاد بودند!",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_sentences_end_in_every_script(language):
    text = SENTENCES[language]
    source = text[::-1] * 6
    assert count_sentences(text) == 3
    assert verdict_on(text, "stop", source, PROMPT) == "accepted"
    ends_open = text.rstrip("」").rstrip(text.rstrip("」")[-1])
    assert verdict_on(ends_open, "stop", source, PROMPT) == "no end of a sentence at its end"


def test_a_script_without_full_stops_needs_none():
    thai = "การค้าขายเติบโตขึ้นเมื่อ พ.ศ. ๒๔๗๕ เมืองก็ร่ำรวย ประชาชนมีความสุข "
    assert verdict_on("การค้าเจริญขึ้น เมืองมั่งคั่ง ผู้คนยินดี", "stop", thai * 4, PROMPT) == "accepted"


@pytest.mark.parametrize(
    "text",
    [
        "ในปีนั้นพ่อค้าที่ท่าเรือตกใจกับภาษีใหม่ของสภา และตกลงกันว่าจะเขียนคำร้องถึงเสนาบดี แต่ท่านไม่สัญญาอะไรเลย",
        "その年の秋、港の商人たちは議会が外国の布に課した新しい税に驚き、大臣に請願書を出すことに決めたが、大臣は何も約束しなかった。",
        "ရာသီဥတု အေးလာသောအခါ ဆိပ်ကမ်းရှိ ကုန်သည်များသည် အခွန်သစ်ကို ကြောက်ရွံ့ပြီး ဝန်ကြီးထံ အသနားခံစာ တင်ရန် ဆုံးဖြတ်ကြသည်။",
        "དེའི་ལོར་ཚོང་པ་རྣམས་ཀྱིས་ཁྲལ་གསར་པ་ལ་སྐྲག་ནས་བློན་པོ་ལ་ཞུ་ཡིག་ཕུལ་བ་དང་བློན་པོས་ཁས་ལེན་གང་ཡང་མ་བྱས་པས་དགུན་ཁ་ཟིན་པའི་སྔོན་ལ་གྲུ་ཁ་སྟོང་པར་གྱུར་ཏོ།",
    ],
)
def test_words_are_counted_where_no_space_divides_them(text):
    assert 15 < count_words(text) < len(text) / 2
    reply = "".join(reversed(text)) * 3
    assert verdict_on(reply, "stop", text * 2, PROMPT) == "not shorter than the source"


def test_words_with_spaces_are_counted_as_ever():
    for text in ("Trade grew — in both ports.", "한국의 무역은 크게 성장했다.", "Торговля росла.", "व्यापार बढ़ा।"):
        assert count_words(text) == len(text.split())
    assert corpus.TO_GENERATE == "generate" and verdict("generate") == "empty"
