"""Every script's --help, and that one letter means one thing in all of them."""

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [
    "select_training_pairs_final.py",
    "select_training_pairs_no_paraphrase.py",
    "synthetic_data_generator.py",
    "TuneEmbeddings.py",
    "Apply_Tuned_Model.py",
    "fit_topics.py",
    "fit_lsa.py",
    "evaluate_timeline.py",
    "calc_precocity_for_embeddings.py",
    "report_precocity.py",
    "draw_map.py",
]
# calc_precocity_for_embeddings.py keeps the letters and names of the published script.
LETTERS = {
    "-t": {"--metadatapath"},
    "-r": {"--rootfolder"},
    "-s": {"--startyear", "--startdate"},
    "-e": {"--endyear", "--enddate"},
    "-d": {"--datasource", "--data"},
    "-m": {"--modelpath", "--meta"},
    "-o": {"--output", "--outputdir", "--outputpath", "--outputfolder"},
    "-p": {"--prefix"},
    "-a": {"--articleexclude"},
    "-c": {"--chunkexclude"},
    "-h": {"--help"},
}


@functools.cache
def helped(script):
    return subprocess.run(
        [sys.executable, script, "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_takes_less_than_a_second_of_the_processor_and_ends_with_a_command(script):
    text = helped(script)  # once to compile
    before = os.times()
    helped.__wrapped__(script)
    after = os.times()  # of the processor, whose time hardly depends on what else it does
    assert after.children_user + after.children_system - before.children_user - before.children_system < 1
    assert text.rstrip().splitlines()[-1].strip().startswith(f"python {script} ")


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_letter_means_the_same_in_every_script(script):
    for letter, name in re.findall(r"^  (-[a-z])(?: \S+)?, (--[a-z-]+)", helped(script), re.MULTILINE):
        assert name in LETTERS[letter]


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_script_that_reads_chunk_files_can_replace_invalid_utf8(script):
    assert ("--encoding-errors" in helped(script)) == ("ChunkFolder(" in (ROOT / script).read_text())


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_example_names_only_flags_that_exist(script):
    text = helped(script)
    example = text.rstrip().splitlines()[-1]
    known = set(re.findall(r"(?<![\w-])(--?[a-z][a-z-]*)", text[: text.rindex("example:")]))
    assert set(re.findall(r" (--?[a-z][a-z-]*)", example)) <= known


@pytest.mark.parametrize("script", SCRIPTS)
def test_unknown_flags_end_with_status_2(script):
    result = subprocess.run([sys.executable, script, "--no-such-flag"], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 2 and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("flags", "complaint"),
    [
        (["x"], "argument N: 'x' is not a whole number of at least 1"),
        (["0"], "argument N: '0' is not a whole number of at least 1"),
        (["5", "--paraphrase-share", "1.5"], "'1.5' is not a number from 0 to 1"),
        (["5", "--paraphrase-share", "nan"], "'nan' is not a number from 0 to 1"),
        (["5", "--paraphrase-share", "ten"], "'ten' is not a number from 0 to 1"),
    ],
)
def test_numbers_out_of_range_are_named(capsys, flags, complaint):
    import select_training_pairs_final as final

    with pytest.raises(SystemExit) as stop:
        final.main([*flags, "-t", "metadata.tsv", "-r", "chunks"])
    assert stop.value.code == 2 and complaint in capsys.readouterr().err
