# The settings: their table, and what follows from it. Part of the Makefile; change settings in config.mk, not here.

# Of the Makefile. The cluster gets neither map nor benchmarks.
PARTS := settings.mk Makefile joined.mk topics.mk slurm/delta.mk $(wildcard map.mk benchmarks/bench.mk)

VENV ?= .venv
CONFIG ?= config.mk
ifneq ($(wildcard $(CONFIG)),)
include $(CONFIG)
else ifneq ($(CONFIG),config.mk)
$(error CONFIG=$(CONFIG) does not exist; name a settings file, or copy config.example.mk to config.mk)
endif

# name | stages it steers: they run again when it changes | default | meaning
define TABLE
METADATA               | precocity section map report | data/metadata.tsv     | table of documents
CHUNKS                 | corpus                   | data/chunks           | folder of chunk files
CORPUS_FLAGS           | corpus precocity         |                       | how to read chunk files
START_YEAR             | corpus precocity         |                       | first year
END_YEAR               | corpus precocity         |                       | the year after the last
OUTPUT                 |                          | output                | folder for all products
TRAIN                  |                          | para10                | model: para10, para20 …, nopara, base, topics; para10+timeline, para10+lsa, para10+joined
SEED                   | pairs nopara paraphrase tune lsa topics map report | 0          | seed of all random choices
PAIRS_PER_YEAR         | pairs                    | 400                   | largest number of pairs a year
PAIRS_FLAGS            | pairs                    |                       | flags of select_training_pairs_final.py
PARAPHRASE_SET         | nopara                   | $(firstword $(filter para%,$(SET) para10)) | pairs whose number nopara matches
NOPARA_FLAGS           | nopara                   |                       | flags of select_training_pairs_no_paraphrase.py
PARAPHRASER            |                          |                       | command in front of the paraphraser
PARAPHRASE_FLAGS       | paraphrase               |                       | flags of synthetic_data_generator.py
BASE_MODEL             | tune apply               | sentence-transformers/all-distilroberta-v1 | model to tune
TUNE_FLAGS             | tune                     |                       | flags of TuneEmbeddings.py
APPLY_FLAGS            | apply                    |                       | flags of Apply_Tuned_Model.py
JOIN_FLAGS             | joined                   |                       | flags of join_embeddings.py
TOPICS_FLAGS           | topics                   |                       | flags of fit_topics.py
PRECOCITY_FLAGS        | precocity                |                       | flags of calc_precocity_for_embeddings.py
PRECOCITY_REPORT_FLAGS | section                  |                       | flags of report_precocity.py
PRECOCITY              | report                   | $(if $(CAMPUS),no,yes) | no: make report shows precocity only if it was pulled
MAP_FLAGS              | map                      |                       | flags of draw_map.py
REPORT_FLAGS           | report                   |                       | flags of evaluate_timeline.py
EXPERIMENT             |                          | $(OUTPUT)/experiment  | folder of an experiment
EXPERIMENT_SETS        | experiment               | nopara para10 para20  | models that make experiment compares
EXPERIMENT_SEEDS       | experiment               | 0 1 2                 | seeds that each of them is tuned with
EXPERIMENT_SPLIT       | tune                     |                       | --split-seed there: other documents are held out
EXPERIMENT_EMBEDS      | held                     | held-out              | held-out, or all documents, as make report does
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
SHARDS                 |                          | 1                     | GPUs that embed there, each an equal share
PRECOCITY_SBATCH       |                          |                       | flags of sbatch, for precocity on CAMPUS
CAMPUS                 |                          |                       | host:path for embeddings and precocity
SSH                    |                          | ssh                   | ssh command
endef

define newline


endef
# TRAIN = para10+timeline: the pairs of para10, tuned with TUNE_FLAGS_timeline as well; a second model beside the first.
# TRAIN = para10+lsa: the vectors of para10 and of counted words in one. para10+joined: those of para10 and para10+timeline.
set_of = $(firstword $(subst +, ,$(1)))
variant_of = $(word 2,$(subst +, ,$(1)))
SET = $(call set_of,$(TRAIN))
joins = $(filter %+lsa %+joined,$(1))
trained = $(subst +joined-seed,-seed,$(subst +lsa-seed,-seed,$(patsubst %+joined,%,$(patsubst %+lsa,%,$(1)))))
tunes = $(if $(call joins,$(1)),$(call set_of,$(1)) $(if $(filter %+joined,$(1)),$(call set_of,$(1))+timeline),$(1))
TUNES = $(call tunes,$(TRAIN))
# 128 tokens where you set no length: twice the pairs take twice the time, and the timeline needs no more
# (benchmarks/TUNING.md).
TUNE_FLAGS_timeline ?= --recombine 1 $(if $(findstring --max-seq-length,$(TUNE_FLAGS)),,--max-seq-length 128)

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

# What an experiment tunes, each once: the models that you name, in their order, and those whose vectors are joined.
JOINED_SETS := $(call joins,$(EXPERIMENT_SETS))
NAMED_SETS := $(filter-out $(JOINED_SETS),$(EXPERIMENT_SETS))
PARTS_TUNED := $(foreach set,$(JOINED_SETS),$(call tunes,$(set)))
EXPERIMENT_TUNES := $(NAMED_SETS)
$(foreach set,$(PARTS_TUNED),$(eval EXPERIMENT_TUNES += $(filter-out $(EXPERIMENT_TUNES),$(set))))
runs = $(foreach set,$(1),$(EXPERIMENT_SEEDS:%=$(set)-seed%))
VARIANTS := $(sort $(foreach model,$(TUNES) $(EXPERIMENT_TUNES),$(call variant_of,$(model))))

# make reads $5 as a variable, which is empty. A # begins a comment; stamp.py finds the quotation mark left open by it.
open := (
hash := \#
lone_dollar = $(findstring $$,$(subst $${,,$(subst $$$(open),,$(subst $$$$,,$(value $(1))))))
$(foreach name,$(SETTINGS) $(VARIANTS:%=TUNE_FLAGS_%),$(if $(filter recursive,$(flavor $(name))),$(if $(call lone_dollar,$(name)),\
  $(error $(name) has a single $$: write $$$$ for a dollar sign, and put the words around it in single quotes))))

# A comment after a value leaves blanks at its end: OUTPUT = out  # mine
$(foreach name,$(filter-out %_FLAGS %_SBATCH,$(SETTINGS)),$(eval override $(name) := $$(strip $$($(name)))))
NAMES := OUTPUT METADATA CHUNKS BASE_MODEL EXPERIMENT
$(foreach name,$(NAMES),$(if $(filter 1,$(words $($(name)))),,\
  $(error $(name) is '$($(name))'; it must be one name without spaces)))
$(foreach name,$(NAMES),$(foreach mark," ' $$ $(hash) & ; % :,$(if $(findstring $(mark),$($(name))),\
  $(error $(name) is $($(name)); it must be a name without $(mark)))))
$(foreach name,$(NAMES),$(eval override $(name) := $$(patsubst ~/%,$(HOME)/%,$$($(name)))))
WORDS_PRECOCITY := yes no
WORDS_EXPERIMENT_EMBEDS := held-out all
$(foreach name,PRECOCITY EXPERIMENT_EMBEDS,$(if $(and $(filter 1,$(words $($(name)))),$(filter $(WORDS_$(name)),\
  $($(name)))),,$(error $(name) is '$($(name))'; it is one of: $(WORDS_$(name)))))
# base, topics, nopara, or para and digits; nopara and para10 also with the name of flags of their own
$(if $(shell grep -xE 'base|topics|(nopara|para[0-9]+)(\+[A-Za-z0-9._-]+)?' <<< '$(TRAIN)'),,\
  $(error TRAIN is '$(TRAIN)'; it is para10, para20 …, nopara, base or topics, or one of the first three with an addition, like para10+lsa))

# The environment is made only where PYTHON points into it: on a cluster, PYTHON=python takes the one that is loaded.
READY = $(if $(filter $(VENV)/%,$(PYTHON)),$(VENV)/.installed)

# ---- stamps: what make compares, kept in <output>/settings by stamp.py ----------------------------------------------

# make compares times, but a setting has none, a file may be replaced by an older one, and a product made again may be
# the same as before. So a stamp holds the settings that steer a stage, and the state of each file that they name: it
# gets a new time only when any of this changes. The first is as old as the files it names, and outdates no product
# that was made since by hand or elsewhere.
stamps = $(1:%=$(OUTPUT)/settings/%.txt)
quoted = '$(subst ','\'',$(1))'
stamp = @$(PYTHON) stamp.py $@

# Beside the settings in the table: of the metadata, what all stages read; the flags of a variant, as in TRAIN =
# para10+timeline or EXPERIMENT_SETS = nopara nopara+timeline; and which documents an experiment's models are compared by.
STEERS_corpus += DOCUMENTS
DOCUMENTS = $(METADATA)
$(foreach variant,$(VARIANTS),$(eval STEERS_tune+$(variant) := TUNE_FLAGS_$(variant))\
  $(if $(filter undefined,$(origin TUNE_FLAGS_$(variant))),\
  $(error +$(variant) needs flags of its own: TUNE_FLAGS_$(variant) = … in $(CONFIG))))
STEERS_held += HELD_OUT
EMBEDDED = $(if $(filter all,$(EXPERIMENT_EMBEDS)),,--held-out-of $(HELD_OUT))
STAGES := $(sort $(STAGES) $(VARIANTS:%=tune+%))

$(call stamps,$(STAGES)): $(OUTPUT)/settings/%.txt: FORCE | $(READY)
	$(stamp) $(foreach name,$(STEERS_$*),$(call quoted,$(name) = $($(name))))
$(call stamps,corpus precocity section map report): | $(METADATA)
.PHONY: FORCE
FORCE:

# A product from which others are made has a stamp, too: they are made again only when its content has changed.
PRODUCTS := pairs/%.tsv paraphrased/%.tsv models/%/training.json embeddings/%/manifest.json lsa/%/manifest.json \
  precocity/%/manifest.json precocity/%/section.html map/%/map.html
define stamp_of_product
$(OUTPUT)/settings/$(1).txt: $(OUTPUT)/$(1) FORCE | $(READY)
	$$(stamp) 'PRODUCT = $$<'
endef
$(foreach product,$(PRODUCTS),$(eval $(call stamp_of_product,$(product))))
# A file that no rule mentions by name is a passing one to make: whatever follows from it would run when it is new.
MODELS := $(sort nopara base $(TRAIN) $(SET) $(TUNES) $(PARAPHRASE_SET) $(foreach set,$(EXPERIMENT_SETS),$(call set_of,$(set))))
mentioned: $(call stamps,$(foreach model,$(MODELS),$(subst %,$(model),$(PRODUCTS) models/%/kept.json)))

# Made on the way to another target, and kept; a stamp also where make is stopped, or a change would be forgotten.
.PRECIOUS: $(PRODUCTS:%=$(OUTPUT)/%) $(call stamps,$(PRODUCTS) $(STAGES))

# The records in an embedding folder of decades whose file has been deleted: make makes the folder whole again.
lacking = $(strip $(foreach record,$(shell grep -ls '"bytes": [0-9]' $(1)/decades/*.json),\
  $(if $(wildcard $(1)/$(basename $(notdir $(record))).*),,$(record))))

# ---- what was measured on a cluster ----------------------------------------------------------------------------------
# Where precocity came from there, and the embeddings did not, the page shows precocity alone; of base and topics, too,
# which are no tuned models.
ELSEWHERE := $(or $(filter pull-precocity,$(MAKECMDGOALS)),$(wildcard $(OUTPUT)/precocity/$(TRAIN)/.pulled))
# A second model is compared with the first, too, once that is there; joined vectors with both. The page is about TRAIN.
there = $(and $(wildcard $(OUTPUT)/embeddings/$(1)/manifest.json),$(wildcard $(OUTPUT)/models/$(1)/training.json))
APART := $(or $(filter-out $(TRAIN),$(TUNES)),$(if $(call there,$(filter-out $(TRAIN),$(SET))),$(SET)))
ALONE := $(filter base topics,$(TRAIN))$(if $(ELSEWHERE),$(if $(wildcard $(OUTPUT)/embeddings/$(TRAIN)/manifest.json),,yes))
COMPARED := $(if $(ALONE),,base $(TRAIN) $(APART))

settings: ## Show the settings in force, and what they mean.
	@printf '%-32s # %s\n' 'CONFIG = $(CONFIG)' 'your settings file' 'VENV = $(VENV)' 'folder of the environment' \
	  $(foreach name,$(SETTINGS),$(call quoted,$(name) = $($(name))) '$(MEANING_$(name))') \
	  $(foreach name,$(VARIANTS:%=TUNE_FLAGS_%),$(call quoted,$(name) = $($(name))) 'further flags of tuning, for +$(name:TUNE_FLAGS_%=%)')
