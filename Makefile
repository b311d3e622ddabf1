# tunedembeddings: embeddings tuned to a corpus with a long timeline.
#
#   metadata + chunk files → pairs → paraphrased pairs → tuned model → embeddings by decade → precocity, report
#
# Every step is a script that also runs by hand; this file only says in which order and with which settings.
# Settings come from config.mk (copy config.example.mk), or from another file: make CONFIG=path …

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help
# One stage at a time: each uses all cores, or the GPU, by itself.
.NOTPARALLEL:

VENV ?= .venv
CONFIG ?= config.mk
ifneq ($(wildcard $(CONFIG)),)
include $(CONFIG)
else ifneq ($(CONFIG),config.mk)
$(error CONFIG=$(CONFIG) does not exist; name a settings file, or copy config.example.mk to config.mk)
endif

# The settings that the user made; the jobs' files have values of their own for the others.
GIVEN := $(foreach name,TRAIN SEED OUTPUT METADATA CHUNKS START_YEAR END_YEAR BASE_MODEL,\
  $(if $(filter undefined,$(origin $(name))),,$(name)))

# ---- settings -------------------------------------------------------------------------------------------------------

METADATA ?= data/metadata.tsv
CHUNKS ?= data/chunks
OUTPUT ?= output
START_YEAR ?=
END_YEAR ?=
SEED ?= 0
PAIRS_PER_YEAR ?= 400
TRAIN ?= para10
PARAPHRASE_SET ?= $(if $(filter para%,$(TRAIN)),$(TRAIN),para10)
BASE_MODEL ?= sentence-transformers/all-distilroberta-v1
CORPUS_FLAGS ?=
PAIRS_FLAGS ?=
NOPARA_FLAGS ?=
PARAPHRASER ?=
PARAPHRASE_FLAGS ?=
BATCH ?= status
TUNE_FLAGS ?=
EXPERIMENT_SETS ?= nopara para10 para20
EXPERIMENT_SEEDS ?= 0 1 2
APPLY_FLAGS ?=
ADJUST_FLAGS ?=
PRECOCITY_FLAGS ?=
PRECOCITY_REPORT_FLAGS ?=
REPORT_FLAGS ?=
PYTHON3 ?= python3
PYTHON ?= $(VENV)/bin/python
PIP_FLAGS ?= --quiet
DELTA ?= delta
DELTA_DIR ?= /projects/bbiq/novelty/tunedembeddings
DELTA_ACCOUNT ?=
DELTA_PARTITION ?=
DELTA_PIP_FLAGS ?=
TRAIN_SBATCH ?=
APPLY_SBATCH ?=
CAMPUS ?=
SSH ?= ssh
DRY_RUN ?=
FOLLOW ?=

# A comment behind a value leaves spaces at its end: OUTPUT = out  # mine
$(foreach name,OUTPUT METADATA CHUNKS TRAIN PARAPHRASE_SET DELTA DELTA_DIR DELTA_ACCOUNT DELTA_PARTITION CAMPUS SSH,\
  $(eval override $(name) := $$(strip $$($(name)))))
$(foreach name,OUTPUT METADATA CHUNKS,$(if $(filter 1,$(words $($(name)))),,\
  $(error $(name) is '$($(name))'; it must be one name without spaces)))
PERCENTAGES := $(foreach digit,0 1 2 3 4 5 6 7 8 9,para$(digit)%)
$(if $(filter nopara base $(PERCENTAGES),$(TRAIN)),,$(error TRAIN is '$(TRAIN)'; it is para10, para20 … or nopara))

SETTINGS := CONFIG METADATA CHUNKS OUTPUT START_YEAR END_YEAR SEED PAIRS_PER_YEAR TRAIN PARAPHRASE_SET BASE_MODEL \
  CORPUS_FLAGS PAIRS_FLAGS NOPARA_FLAGS PARAPHRASER PARAPHRASE_FLAGS TUNE_FLAGS APPLY_FLAGS ADJUST_FLAGS \
  PRECOCITY_FLAGS PRECOCITY_REPORT_FLAGS REPORT_FLAGS EXPERIMENT_SETS EXPERIMENT_SEEDS PYTHON3 VENV PYTHON PIP_FLAGS \
  DELTA DELTA_DIR DELTA_ACCOUNT DELTA_PARTITION DELTA_PIP_FLAGS TRAIN_SBATCH APPLY_SBATCH CAMPUS SSH

# What products depend on beside files. settings.txt changes only when one of these does, and then the steps run again.
STEERING := METADATA CHUNKS START_YEAR END_YEAR SEED PAIRS_PER_YEAR BASE_MODEL CORPUS_FLAGS PAIRS_FLAGS NOPARA_FLAGS \
  PARAPHRASE_FLAGS TUNE_FLAGS APPLY_FLAGS ADJUST_FLAGS PRECOCITY_FLAGS PRECOCITY_REPORT_FLAGS REPORT_FLAGS
export STEERED := $(foreach name,$(STEERING),$(name) = $($(name));)

YEARS = $(if $(START_YEAR),-s $(START_YEAR)) $(if $(END_YEAR),-e $(END_YEAR))
CORPUS = -t $(METADATA) -r $(CHUNKS) $(YEARS) $(CORPUS_FLAGS)
INPUTS = $(METADATA) $(OUTPUT)/settings.txt corpus.py script.py
# Made on the way to another target, and kept.
.PRECIOUS: $(OUTPUT)/pairs/para%.tsv $(OUTPUT)/paraphrased/%.tsv $(OUTPUT)/models/%/training.json \
  $(OUTPUT)/embeddings/%/manifest.json $(OUTPUT)/precocity/%/manifest.json
# The environment is made only where PYTHON points into it: on a cluster, PYTHON=python takes the one that is loaded.
READY = $(if $(filter $(VENV)/%,$(PYTHON)),$(VENV)/.installed)

# Newer than everything made whenever a setting or a chunk file changed, else left alone.
$(OUTPUT)/settings.txt: FORCE | $(METADATA)
	@mkdir -p $(@D)
	@tr ';' '\n' <<< "$$STEERED" > $@.new
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
	@if [ -n "$$(find $(CHUNKS) -newer $@ -print -quit 2> /dev/null)" ]; then touch $@; fi
FORCE:

.PHONY: FORCE help settings setup demo pairs pairs-no-paraphrase train-local apply-local precocity report evaluate \
  experiment test test-fast test-cluster lint format clean clean-paid paraphrase paraphrase-estimate \
  paraphrase-preview paraphrase-batch

help: ## Show this list.
	@echo "make <target>, in the order of the pipeline ($(if $(wildcard $(CONFIG)),settings of $(CONFIG),default settings)):"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' Makefile slurm/delta.mk

settings: ## Show the settings in force.
	@:$(foreach name,$(SETTINGS),$(info $(name) = $($(name))))

# ---- environment ----------------------------------------------------------------------------------------------------

setup: $(VENV)/.installed ## Make .venv with the tested versions of all packages.

$(VENV)/.installed: requirements.txt constraints.txt
	$(PYTHON3) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON3=…")'
	$(PYTHON3) -m venv $(VENV)
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) -r requirements.txt -c constraints.txt
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt constraints.txt $(VENV)/.installed
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) -r requirements-dev.txt -c constraints.txt
	touch $@

$(VENV)/.installed-demo: demo/requirements.txt demo/requirements-no-deps.txt $(VENV)/.installed
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) -r demo/requirements.txt -c constraints.txt
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) --no-deps -r demo/requirements-no-deps.txt
	touch $@

# ---- demo: the same pipeline with demo/demo.mk ----------------------------------------------------------------------

demo: $(VENV)/.installed-demo ## Run all of it on the State of the Union addresses, no key or GPU needed.
	@$(MAKE) --no-print-directory CONFIG=demo/demo.mk pairs pairs-no-paraphrase precocity
	@$(MAKE) --no-print-directory CONFIG=demo/demo.mk report

# ---- 1. pairs -------------------------------------------------------------------------------------------------------

pairs: $(OUTPUT)/pairs/$(PARAPHRASE_SET).tsv ## Choose training pairs, some flagged for paraphrase.

pairs-no-paraphrase: $(OUTPUT)/pairs/nopara.tsv ## Choose as many pairs a year, neighbouring passages only.

$(OUTPUT)/pairs/para%.tsv: select_training_pairs_final.py selection.py $(INPUTS) | $(READY)
	$(PYTHON) $< $(PAIRS_PER_YEAR) $(CORPUS) --paraphrase-share $*e-2 --seed $(SEED) $(PAIRS_FLAGS) -o $@

$(OUTPUT)/pairs/nopara.tsv: select_training_pairs_no_paraphrase.py selection.py \
    $(OUTPUT)/pairs/$(PARAPHRASE_SET).tsv $(INPUTS) | $(READY)
	$(PYTHON) $< $(CORPUS) --match $(OUTPUT)/pairs/$(PARAPHRASE_SET).tsv --seed $(SEED) $(NOPARA_FLAGS) -o $@

# ---- 2. paraphrases -------------------------------------------------------------------------------------------------

PARAPHRASED = $(if $(filter para%,$(TRAIN)),$(OUTPUT)/paraphrased/$(TRAIN).tsv)

PARAPHRASE = $(PYTHON) synthetic_data_generator.py -d $(OUTPUT)/pairs/$(1).tsv --seed $(SEED) $(PARAPHRASE_FLAGS) \
  -o $(OUTPUT)/paraphrased/$(1).tsv

paraphrase: $(PARAPHRASED) ## Have the flagged cells paraphrased (OPENAI_API_KEY; costs).
	@$(if $(PARAPHRASED),:,echo "TRAIN=nopara has nothing to paraphrase")

# The journal beside the table holds what was paid for. It is no target, so make never deletes it.
$(OUTPUT)/paraphrased/%.tsv: synthetic_data_generator.py $(OUTPUT)/pairs/%.tsv $(wildcard paraphrase/*.py) prompts.toml corpus.py script.py \
    | $(READY)
	$(PARAPHRASER) $(call PARAPHRASE,$*)

paraphrase-estimate: $(PARAPHRASED:$(OUTPUT)/paraphrased/%=$(OUTPUT)/pairs/%) ## Say what that will cost and take; no call.
	@$(if $<,$(call PARAPHRASE,$(TRAIN)) --dry-run,echo "TRAIN=nopara has nothing to paraphrase")

paraphrase-preview: $(PARAPHRASED:$(OUTPUT)/paraphrased/%=$(OUTPUT)/pairs/%) ## Show five paraphrases beside their sources.
	@$(if $<,$(PARAPHRASER) $(call PARAPHRASE,$(TRAIN)) --preview 5,echo "TRAIN=nopara has nothing to paraphrase")

paraphrase-batch: $(PARAPHRASED:$(OUTPUT)/paraphrased/%=$(OUTPUT)/pairs/%) ## At half the price: BATCH=submit|status|collect.
	@$(if $<,$(call PARAPHRASE,$(TRAIN)) --batch $(BATCH),echo "TRAIN=nopara has nothing to paraphrase")

# ---- 3. tuning ------------------------------------------------------------------------------------------------------

train-local: $(OUTPUT)/models/$(TRAIN)/training.json ## Tune the base model on this machine (TRAIN=para10|para20|nopara).

TUNING = TuneEmbeddings.py $(wildcard tuning/*.py) corpus.py script.py
TUNE = $(PYTHON) TuneEmbeddings.py -d $< -o $(@D) --base-model $(BASE_MODEL) --seed $(SEED) --resume $(TUNE_FLAGS)

$(OUTPUT)/models/nopara/training.json: $(OUTPUT)/pairs/nopara.tsv $(TUNING) | $(READY)
	$(TUNE)

$(OUTPUT)/models/%/training.json: $(OUTPUT)/paraphrased/%.tsv $(TUNING) | $(READY)
	$(TUNE)

# ---- 4. embeddings --------------------------------------------------------------------------------------------------

apply-local: $(OUTPUT)/embeddings/$(TRAIN)/manifest.json ## Embed every passage with the tuned model on this machine.

APPLY = $(PYTHON) Apply_Tuned_Model.py $(CORPUS) $(APPLY_FLAGS) -o $(@D)

$(OUTPUT)/embeddings/base/manifest.json: Apply_Tuned_Model.py TuneEmbeddings.py $(INPUTS) | $(READY)
	$(APPLY) -m $(BASE_MODEL)

$(OUTPUT)/embeddings/%/manifest.json: $(OUTPUT)/models/%/training.json Apply_Tuned_Model.py $(INPUTS) | $(READY)
	$(APPLY) $(ADJUST_FLAGS) -m $(OUTPUT)/models/$*/final

# ---- 5. precocity ---------------------------------------------------------------------------------------------------

precocity: $(OUTPUT)/precocity/$(TRAIN)/section.html ## Measure which documents are ahead of their time.
	@echo "The table: $(<D)/*s_docs.tsv, the pictures: $(<D)/*.png"

PRECOCITY = calc_precocity_for_embeddings.py $(wildcard precocity/*.py)

$(OUTPUT)/precocity/%/manifest.json: $(OUTPUT)/embeddings/%/manifest.json $(PRECOCITY) $(INPUTS) | $(READY)
	$(PYTHON) $(firstword $(PRECOCITY)) -m $(METADATA) -d $(<D) $(YEARS) $(PRECOCITY_FLAGS) -o $(@D)

$(OUTPUT)/precocity/%/section.html: report_precocity.py $(OUTPUT)/precocity/%/manifest.json $(wildcard report/*.py report/templates/*) | $(READY)
	$(PYTHON) $< $(@D) -t $(METADATA) $(PRECOCITY_REPORT_FLAGS) -o $(@D)

# ---- 6. report ------------------------------------------------------------------------------------------------------

evaluate: report ## The same as make report.

# The report shows precocity, too, once make precocity has measured it.
SECTION = $(wildcard $(OUTPUT)/precocity/$(TRAIN)/section.html)

report: $(OUTPUT)/report/$(TRAIN)/report.html ## Compare base, tuned and topic model; makes all it needs first.
	@echo "The report: $<"

$(OUTPUT)/report/$(TRAIN)/report.html: evaluate_timeline.py $(wildcard report/*.py report/templates/*) $(INPUTS) \
    $(OUTPUT)/embeddings/base/manifest.json $(OUTPUT)/embeddings/$(TRAIN)/manifest.json $(SECTION) | $(READY)
	$(PYTHON) $< base=$(OUTPUT)/embeddings/base $(TRAIN)=$(OUTPUT)/embeddings/$(TRAIN) -t $(METADATA) -r $(CHUNKS) \
	  --training $(OUTPUT)/models/$(TRAIN)/training.json $(SECTION:%=--section %) --seed $(SEED) $(REPORT_FLAGS) -o $(@D)

# ---- the experiment: what does paraphrase change? -------------------------------------------------------------------

EXPERIMENT := $(OUTPUT)/experiment
RUNS := $(foreach set,$(EXPERIMENT_SETS),$(foreach seed,$(EXPERIMENT_SEEDS),$(set)-seed$(seed)))
# The same held-out documents for all, those of the first run: enough to compare models by.
HELD_OUT := $(EXPERIMENT)/$(firstword $(RUNS))/training.json

experiment: $(EXPERIMENT)/report/report.html ## Tune without and with paraphrase, three seeds each; compare.
	@echo "The report: $<"

define experiment_run # set, seed
$(EXPERIMENT)/$(1)-seed$(2)/training.json: $(OUTPUT)/$(if $(filter nopara,$(1)),pairs,paraphrased)/$(1).tsv \
    $(TUNING) | $(READY)
	$$(PYTHON) TuneEmbeddings.py -d $$< -o $$(@D) --base-model $$(BASE_MODEL) --seed $(2) --resume $$(TUNE_FLAGS)

$(EXPERIMENT)/$(1)-seed$(2)/embeddings/manifest.json: $(EXPERIMENT)/$(1)-seed$(2)/training.json $(HELD_OUT) \
    Apply_Tuned_Model.py | $(READY)
	$$(APPLY) $(ADJUST_FLAGS) --held-out-of $(HELD_OUT) -m $(EXPERIMENT)/$(1)-seed$(2)/final
endef
$(foreach set,$(EXPERIMENT_SETS),$(foreach seed,$(EXPERIMENT_SEEDS),$(eval $(call experiment_run,$(set),$(seed)))))

$(EXPERIMENT)/base/manifest.json: $(HELD_OUT) Apply_Tuned_Model.py | $(READY)
	$(APPLY) --held-out-of $< -m $(BASE_MODEL)

$(EXPERIMENT)/report/report.html: evaluate_timeline.py $(wildcard report/*.py report/templates/*) $(EXPERIMENT)/base/manifest.json \
    $(RUNS:%=$(EXPERIMENT)/%/embeddings/manifest.json) | $(READY)
	$(PYTHON) $< base=$(EXPERIMENT)/base \
	  $(foreach run,$(RUNS),$(firstword $(subst -, ,$(run)))=$(EXPERIMENT)/$(run)/embeddings) \
	  $(RUNS:%=--training $(EXPERIMENT)/%/training.json) -t $(METADATA) -r $(CHUNKS) --seed $(SEED) $(REPORT_FLAGS) -o $(@D)

# ---- the heavy steps on a cluster -----------------------------------------------------------------------------------

include slurm/delta.mk

# ---- checks ---------------------------------------------------------------------------------------------------------

test: $(VENV)/.installed-dev ## Run all tests.
	$(VENV)/bin/python -m pytest -n 2

test-fast: $(VENV)/.installed-dev ## Run the tests that take seconds.
	$(VENV)/bin/python -m pytest -m "not slow"

test-cluster: $(VENV)/.installed-dev ## Run the tests against a real Slurm and sshd (Debian, as root); fail without.
	CLUSTER_TESTS=insist $(VENV)/bin/python -m pytest tests/cluster

lint: $(VENV)/.installed-dev ## Check style and common mistakes.
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# ---- cleaning -------------------------------------------------------------------------------------------------------

clean: ## Delete pairs, embeddings, precocity and reports; never paraphrases or models.
	rm -rf $(OUTPUT)/pairs $(OUTPUT)/embeddings $(OUTPUT)/precocity $(OUTPUT)/report $(OUTPUT)/settings.txt
	rm -rf $(EXPERIMENT)/*/embeddings $(EXPERIMENT)/base $(EXPERIMENT)/report

clean-paid: ## Say what paraphrases and models cost; delete them with CONFIRM=yes.
	@for journal in $(wildcard $(OUTPUT)/paraphrased/*.journal.jsonl); do \
	  awk -v name="$$journal" '/"usage": {/ { replies++ } \
	    match($$0, /"total_tokens": [0-9]+/) { tokens += substr($$0, RSTART + 16, RLENGTH - 16) } \
	    match($$0, /"cost": [0-9.e-]+/) { dollars += substr($$0, RSTART + 8, RLENGTH - 8) } \
	    END { printf "%s: %d paid replies, %d tokens, $$%.2f\n", name, replies, tokens, dollars }' "$$journal"; done
	@for record in $(wildcard $(OUTPUT)/models/*/training.json $(EXPERIMENT)/*/training.json); do \
	  awk -v name="$$(dirname "$$record")" -F '[:,]' '/^ "seconds"/ { printf "%s: %.1f minutes of training\n", name, $$2 / 60 }' \
	    "$$record"; done
	@if [ "$(CONFIRM)" = yes ]; then rm -rf $(OUTPUT)/paraphrased $(OUTPUT)/models $(EXPERIMENT); echo "deleted"; \
	  else echo "Nothing deleted. make clean-paid CONFIRM=yes deletes $(OUTPUT)/paraphrased, models and experiment."; fi

# Whatever is asked for and neither exists nor can be made.
.DEFAULT:
	@echo "There is no $@ and no rule to make it; make settings shows which files are expected, make help the targets." >&2
	@exit 2
