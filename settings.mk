# The settings: their table, and what follows from it. Part of the Makefile; change settings in config.mk, not here.

VENV ?= .venv
CONFIG ?= config.mk
ifneq ($(wildcard $(CONFIG)),)
include $(CONFIG)
else ifneq ($(CONFIG),config.mk)
$(error CONFIG=$(CONFIG) does not exist; name a settings file, or copy config.example.mk to config.mk)
endif

# name | stages it steers: they run again when it changes | default | meaning
define TABLE
METADATA               | corpus precocity section | data/metadata.tsv     | table of documents
CHUNKS                 | corpus                   | data/chunks           | folder of chunk files
CORPUS_FLAGS           | corpus                   |                       | how to read chunk files
START_YEAR             | corpus precocity         |                       | first year
END_YEAR               | corpus precocity         |                       | the year after the last
OUTPUT                 |                          | output                | folder for all products
TRAIN                  |                          | para10                | model: para10, para20 …, nopara, or base
SEED                   | pairs nopara paraphrase tune report | 0          | seed of all random choices
PAIRS_PER_YEAR         | pairs                    | 400                   | largest number of pairs a year
PAIRS_FLAGS            | pairs                    |                       | flags of select_training_pairs_final.py
PARAPHRASE_SET         |                          | $(firstword $(filter para%,$(TRAIN) para10)) | pairs whose number nopara matches
NOPARA_FLAGS           | nopara                   |                       | flags of select_training_pairs_no_paraphrase.py
PARAPHRASER            |                          |                       | command in front of the paraphraser
PARAPHRASE_FLAGS       | paraphrase               |                       | flags of synthetic_data_generator.py
BASE_MODEL             | tune apply               | sentence-transformers/all-distilroberta-v1 | model to tune
TUNE_FLAGS             | tune                     |                       | flags of TuneEmbeddings.py
APPLY_FLAGS            | apply                    |                       | flags of Apply_Tuned_Model.py
PRECOCITY_FLAGS        | precocity                |                       | flags of calc_precocity_for_embeddings.py
PRECOCITY_REPORT_FLAGS | section                  |                       | flags of report_precocity.py
REPORT_FLAGS           | report                   |                       | flags of evaluate_timeline.py
EXPERIMENT_SETS        | experiment               | nopara para10 para20  | models that make experiment compares
EXPERIMENT_SEEDS       | experiment               | 0 1 2                 | seeds that each of them is tuned with
PYTHON3                |                          | python3               | Python that makes the environment
PYTHON                 |                          | $(VENV)/bin/python    | Python that runs the scripts
PIP_FLAGS              |                          | --quiet               | flags of pip, here
DELTA                  |                          | delta                 | ssh host of the cluster; empty on the cluster
DELTA_DIR              |                          | /projects/bbiq/novelty/tunedembeddings | project folder there
DELTA_ACCOUNT          |                          |                       | account to charge
DELTA_PARTITION        |                          |                       | partition to run in
DELTA_PIP_FLAGS        |                          |                       | flags of pip, there
TRAIN_SBATCH           |                          |                       | flags of sbatch, for training
APPLY_SBATCH           |                          |                       | flags of sbatch, for embedding
PRECOCITY_SBATCH       |                          |                       | flags of sbatch, for precocity on CAMPUS
CAMPUS                 |                          |                       | host:path for embeddings and precocity
SSH                    |                          | ssh                   | ssh command
endef

define newline


endef
# Rows become words, a · for each blank. GIVEN: what you set yourself; for the rest, job files have values of their own.
empty :=
rows := $(subst $(newline), ,$(subst $(empty) ,·,$(value TABLE)))
cell = $(strip $(subst ·, ,$(word $(1),$(subst |, ,$(row)))))
define setting # name, stages, default, meaning
SETTINGS += $(1)
GIVEN += $(if $(filter undefined,$(origin $(1))),,$(1))
STAGES += $(2)
$(foreach stage,$(2),$(newline)STEERS_$(stage) += $(1))
$(1) ?= $(3)
MEANING_$(1) := $(4)
endef
$(foreach row,$(rows),$(eval $(call setting,$(call cell,1),$(call cell,2),$(call cell,3),$(call cell,4))))

# A comment after a value leaves blanks at its end: OUTPUT = out  # mine
$(foreach name,$(filter-out %_FLAGS %_SBATCH,$(SETTINGS)),$(eval override $(name) := $$(strip $$($(name)))))
$(foreach name,OUTPUT METADATA CHUNKS,$(if $(filter 1,$(words $($(name)))),,\
  $(error $(name) is '$($(name))'; it must be one name without spaces)))
# base, nopara, or para and digits
$(if $(shell grep -xE 'base|nopara|para[0-9]+' <<< '$(TRAIN)'),,$(error TRAIN is '$(TRAIN)'; it is para10, para20 … or nopara))

# An experiment's variant, as in EXPERIMENT_SETS = nopara+long, has a stage and flags of its own: TUNE_FLAGS_long.
VARIANTS := $(sort $(foreach set,$(EXPERIMENT_SETS),$(word 2,$(subst +, ,$(set)))))
$(foreach variant,$(VARIANTS),$(eval STEERS_tune+$(variant) := TUNE_FLAGS_$(variant)))
STAGES += $(VARIANTS:%=tune+%)

# ---- stamps: a stage's file <output>/settings/<stage>.txt holds its settings ----------------------------------------

# It is rewritten, and so newer than the stage's products, only when one of them has changed; that of the corpus also
# when a chunk file has. The first one is old: it outdates no model that was trained elsewhere and brought here.
stamps = $(1:%=$(OUTPUT)/settings/%.txt)
quoted = '$(subst ','\'',$(1))'

$(call stamps,$(sort $(STAGES))): $(OUTPUT)/settings/%.txt: FORCE
	@mkdir -p $(@D)
	@printf '%s\n' $(foreach name,$(STEERS_$*),$(call quoted,$(name) = $($(name)))) > $@.new
	@if [ ! -e $@ ]; then touch -t 200001010000 $@.new; fi
	@if cmp -s $@.new $@; then rm $@.new; else mv $@.new $@; fi
	@if [ $* = corpus ] && [ -n "$$(find -L $(CHUNKS) -newer $@ -print -quit 2> /dev/null)" ]; then touch $@; fi
$(call stamps,corpus): | $(METADATA)
.PHONY: FORCE
FORCE:

# ---- what was measured on a cluster ----------------------------------------------------------------------------------
# Where precocity came from there, and the embeddings did not, the page shows precocity alone.
ELSEWHERE := $(or $(filter pull-precocity,$(MAKECMDGOALS)),$(wildcard $(OUTPUT)/precocity/$(TRAIN)/.pulled))
COMPARED := $(if $(ELSEWHERE),$(if $(wildcard $(OUTPUT)/embeddings/$(TRAIN)/manifest.json),base $(TRAIN)),base $(TRAIN))

settings: ## Show the settings in force, and what they mean.
	@printf '%-32s # %s\n' 'CONFIG = $(CONFIG)' 'your settings file' 'VENV = $(VENV)' 'folder of the environment' \
	  $(foreach name,$(SETTINGS),$(call quoted,$(name) = $($(name))) '$(MEANING_$(name))')
