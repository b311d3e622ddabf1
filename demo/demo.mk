# Settings of `make demo`: the State of the Union addresses, 1790 to today, on two CPU cores.
# DEMO_SIZE=small takes every eighth address and trains for one epoch. DEMO_SIZE=experiment is for `make experiment`:
# with two pairs a year and shortened passages, a small language model paraphrases a fifth of the pairs in half an
# hour, and nine trainings take another half hour. Each size has a folder of its own.

DEMO_SIZE ?= full

ifeq ($(DEMO_SIZE),small)
OUTPUT := demo/output-small
DEMO_EVERY := 8
DEMO_EPOCHS := 1
DEMO_TOPICS := 20
else ifeq ($(DEMO_SIZE),experiment)
OUTPUT := demo/output-experiment
DEMO_EVERY := 1
DEMO_EPOCHS := 3
PAIRS_PER_YEAR := 2
TRAIN := para20
PARAPHRASE_SET := para20
DEMO_LENGTH := 64
DEMO_TOPICS := 50 --topic-seeds 3
APPLY_FLAGS := --max-seq-length 128
DEMO_RATE := 1e-4
DEMO_TRIES := 3
else ifeq ($(DEMO_SIZE),full)
OUTPUT := demo/output
DEMO_EVERY := 1
DEMO_EPOCHS := 3
else
$(error DEMO_SIZE=$(DEMO_SIZE): it is full, small or experiment)
endif

DEMO_LENGTH ?= 128
DEMO_RATE ?= 4e-5
DEMO_TRIES ?= 1
DEMO_TOPICS ?= 50
include demo/base_model.mk

# 2% instead of the published 10%, about 30 rows, because a small language model on two cores writes them.
TRAIN ?= para02
PARAPHRASE_SET ?= para02
# 249 documents give 1,400 pairs. Leveling 229 years of one or two addresses each would leave half of them.
PAIRS_PER_YEAR ?= 100
PAIRS_FLAGS := --level-quantile 1
PARAPHRASER := $(PYTHON) demo/serve_smollm2.py
PARAPHRASE_FLAGS := --prompts demo/prompts.toml --prompt-set demo --model SmolLM2-135M-Instruct --concurrency 4 \
  --max-tokens 200 --tries $(DEMO_TRIES) --accept-rejects drop
TUNE_FLAGS := --epochs $(DEMO_EPOCHS) --batch-size 32 --learning-rate $(DEMO_RATE) --max-seq-length $(DEMO_LENGTH) \
  --eval-fraction 0.2
TOPICS_FLAGS := --topics $(firstword $(DEMO_TOPICS))
# Compared with other addresses by the same president, an address would seem ahead of its time by who gave it.
PRECOCITY_FLAGS := --exclude-same-author --exclude-quotes -r $(CHUNKS)
# These texts are free, so the page may show them.
PRECOCITY_REPORT_FLAGS := --show-text
REPORT_FLAGS := --title "State of the Union: what tuning did" --topics $(DEMO_TOPICS) --note "The few paraphrased \
pairs were written by SmolLM2-135M, a very small model, so that the demo needs no key. They are poor paraphrases, but \
good enough to show every step."

$(METADATA): demo/build_corpus.py demo/demo.mk script.py | $(BASE_MODEL) $(VENV)/.installed-demo
	$(PYTHON) $< -o $(@D) --tokenizer $(BASE_MODEL) --every $(DEMO_EVERY)
