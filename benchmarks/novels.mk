# Settings of a corpus to measure on, 99 English novels of 1840 to 1920. CONFIG=benchmarks/novels.mk needs their archive:
# ARCHIVE=path/to/eltec_eng.tar.xz (benchmarks/eltec_corpus.py says what it is).

OUTPUT := benchmarks/output-novels
ARCHIVE ?= eltec_eng.tar.xz
include demo/base_model.mk

TRAIN ?= nopara
# No year has enough novels to be leveled by.
PAIRS_FLAGS := --level-quantile 1
TUNE_FLAGS := --learning-rate 1e-4 --batch-size 32 --max-seq-length 128 --eval-fraction 0.2
TOPICS_FLAGS := --topics 50
REPORT_FLAGS := --title "99 English novels" --topics 50 --cohort author_birth --same reprints --same author_gender
PRECOCITY_FLAGS := --exclude-same-author --exclude-quotes -r $(CHUNKS)
PRECOCITY_REPORT_FLAGS := --outcome author_age --outcome author_birth --groups reprints=high,low

$(METADATA): benchmarks/eltec_corpus.py script.py | $(BASE_MODEL)
	$(PYTHON) $< --archive $(ARCHIVE) -o $(@D)
