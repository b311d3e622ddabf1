# tunedembeddings: embeddings tuned to a corpus with a long timeline.
#
#   metadata + chunk files → pairs → paraphrased pairs → tuned model → embeddings by decade → precocity, report
#
# Each step is a script that you can also run by hand. This file holds their order; settings.mk lists their settings.
# Set your own in config.mk (copy config.example.mk) or in a file of another name: make CONFIG=path …

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SUFFIXES:
.DEFAULT_GOAL := help
.NOTPARALLEL: # one stage at a time: each uses all cores, or the GPU, by itself

include settings.mk

YEARS = $(if $(START_YEAR),-s $(START_YEAR)) $(if $(END_YEAR),-e $(END_YEAR))
CORPUS = -t $(METADATA) -r $(CHUNKS) $(YEARS) $(CORPUS_FLAGS)

# A stage's code beside its script: the modules or packages named, and what all scripts share.
code = $(wildcard $(1:%=%.py) $(1:%=%/*.py) $(1:%=%/templates/*)) script.py corpus.py lock.py

# Targets in plain words are commands, not files.
.PHONY: $(shell sed -n 's/^\([a-z-]*\):.*/\1/p' $(PARTS))

help: ## Show this list.
	@echo "make <target>, in the order of the pipeline ($(if $(wildcard $(CONFIG)),settings of $(CONFIG),default settings)):"
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-20s %s\n", $$1, $$2 }' $(PARTS)

# ---- environment ----------------------------------------------------------------------------------------------------
setup: $(VENV)/.installed ## Make .venv with the tested versions of all packages.

$(VENV)/.installed: requirements.txt constraints.txt
	$(PYTHON3) oldest_python.py
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
	@for goals in "pairs pairs-no-paraphrase apply-local" precocity-topics "precocity map report"; do \
	  $(MAKE) --no-print-directory CONFIG=demo/demo.mk $$goals; done

# ---- 1. pairs -------------------------------------------------------------------------------------------------------
pairs: $(OUTPUT)/pairs/$(PARAPHRASE_SET).tsv ## Choose training pairs, some flagged for paraphrase.

pairs-no-paraphrase: $(OUTPUT)/pairs/nopara.tsv ## Choose as many pairs a year, neighboring passages only.

$(OUTPUT)/pairs/para%.tsv: select_training_pairs_final.py $(call code,selection) $(call stamps,corpus pairs) | $(READY)
	$(PYTHON) $< $(PAIRS_PER_YEAR) $(CORPUS) --paraphrase-share $*e-2 --seed $(SEED) $(PAIRS_FLAGS) -o $@

$(OUTPUT)/pairs/nopara.tsv: select_training_pairs_no_paraphrase.py $(call code,selection) \
    $(call stamps,pairs/$(PARAPHRASE_SET).tsv) $(call stamps,corpus nopara) | $(READY)
	$(PYTHON) $< $(CORPUS) --match $(OUTPUT)/pairs/$(PARAPHRASE_SET).tsv --seed $(SEED) $(NOPARA_FLAGS) -o $@

# ---- 2. paraphrases -------------------------------------------------------------------------------------------------
FLAGGED = $(if $(filter para%,$(SET)),$(OUTPUT)/pairs/$(SET).tsv)
generate = $(PYTHON) synthetic_data_generator.py -d $(OUTPUT)/pairs/$(1).tsv --seed $(SEED) $(PARAPHRASE_FLAGS) \
  -o $(OUTPUT)/paraphrased/$(1).tsv
if_flagged = @$(if $(FLAGGED),$(1),echo "TRAIN=$(TRAIN) has nothing to paraphrase")

paraphrase: $(FLAGGED:$(OUTPUT)/pairs/%=$(OUTPUT)/paraphrased/%) ## Paraphrase the flagged cells (OPENAI_API_KEY; costs money).
	$(call if_flagged,:)

# The journal beside the table holds what you paid for. It is no target, so make never deletes it.
$(OUTPUT)/paraphrased/%.tsv: synthetic_data_generator.py prompts.toml $(call code,paraphrase) \
    $(call stamps,pairs/%.tsv paraphrase) | $(READY)
	$(PARAPHRASER) $(call generate,$*)

paraphrase-estimate: $(FLAGGED) ## Say how much it will cost and how long it will take; call nothing.
	$(call if_flagged,$(call generate,$(SET)) --dry-run)

paraphrase-preview: $(FLAGGED) ## Show five paraphrases beside their sources.
	$(call if_flagged,$(PARAPHRASER) $(call generate,$(SET)) --preview 5)

paraphrase-batch: $(FLAGGED) ## Paraphrase at half the price: BATCH=submit|status|collect.
	$(call if_flagged,$(call generate,$(SET)) --batch $(or $(BATCH),status))

# ---- 3. tuning ------------------------------------------------------------------------------------------------------
train-local: $(TUNES:%=$(OUTPUT)/models/%/training.json) ## Tune the base model on this machine (TRAIN=para10|para20|nopara).

TUNING := TuneEmbeddings.py $(call code,tuning encoder) $(call stamps,tune)
tune = $(PYTHON) TuneEmbeddings.py -d $(OUTPUT)/$(1) -o $(@D) -t $(METADATA) -r $(CHUNKS) $(CORPUS_FLAGS) \
  --base-model $(BASE_MODEL) --seed $(2) --resume $(TUNE_FLAGS)

table_of = $(if $(filter nopara,$(call set_of,$(1))),pairs,paraphrased)/$(call set_of,$(1)).tsv

define training # folder, model, seed, further flags
.PRECIOUS: $(1)/training.json
$(1)/training.json: $(call stamps,$(call table_of,$(2)) $(addprefix tune+,$(call variant_of,$(2)))) $(TUNING) | $(READY)
	$$(call tune,$(call table_of,$(2)),$(3)) $$(TUNE_FLAGS_$(call variant_of,$(2))) $(4)
endef
$(foreach one,$(filter-out base topics $(call joins,$(MODELS)),$(MODELS)),$(eval $(call training,$(OUTPUT)/models/$(one),$(one),$(SEED),--keep-finished)))

# ---- 4. embeddings --------------------------------------------------------------------------------------------------
apply-local: $(OUTPUT)/embeddings/$(TRAIN)/manifest.json ## Embed every passage with the tuned model on this machine.

APPLYING := Apply_Tuned_Model.py $(call code,embedding encoder) $(call stamps,corpus apply)
apply = $(PYTHON) Apply_Tuned_Model.py $(CORPUS) --only-these-years $(APPLY_FLAGS) -o $(@D) -m $(1)
# A folder from which a decade's file is gone is made whole again.
$(foreach one,$(wildcard $(OUTPUT)/embeddings/*),$(if $(call lacking,$(one)),$(eval $(one)/manifest.json: FORCE)))

$(OUTPUT)/embeddings/base/manifest.json: $(APPLYING) | $(READY)
	$(call apply,$(BASE_MODEL))

$(OUTPUT)/embeddings/%/manifest.json: $(call stamps,models/%/training.json) $(APPLYING) | $(READY)
	$(call apply,$(OUTPUT)/models/$*/final)

# ---- 5. precocity ---------------------------------------------------------------------------------------------------
precocity: $(OUTPUT)/precocity/$(TRAIN)/section.html ## Measure which documents are ahead of their time.
	@echo "The table:" $(<D)/*s_docs.tsv "and the pictures: $(<D)/*.png"

$(OUTPUT)/precocity/%/manifest.json: $(call stamps,embeddings/%/manifest.json) calc_precocity_for_embeddings.py \
    $(call code,precocity encoder) $(call stamps,precocity) | $(READY)
	$(PYTHON) calc_precocity_for_embeddings.py -m $(METADATA) -d $(OUTPUT)/embeddings/$* $(YEARS) $(CORPUS_FLAGS) \
	  $(DISTANCE_$*) $(PRECOCITY_FLAGS) -o $(@D)

$(OUTPUT)/precocity/%/section.html: $(call stamps,precocity/%/manifest.json) report_precocity.py \
    $(call code,report precocity encoder) $(call stamps,section beside-$(TRAIN)) | $(READY)
	$(PYTHON) report_precocity.py $(@D) $(BESIDE) -t $(METADATA) -d $(OUTPUT)/embeddings/$* -r $(CHUNKS) $(CORPUS_FLAGS) \
	  $(PRECOCITY_REPORT_FLAGS) -o $(@D)

# ---- 6. report ------------------------------------------------------------------------------------------------------
evaluate: report ## The same as make report.

report: $(OUTPUT)/report/$(TRAIN)/report.html ## Compare models, show precocity; make all this needs first.
	@echo "The report: $<"

REPORTING := evaluate_timeline.py $(call code,report encoder) $(call stamps,corpus report)
report = $(PYTHON) evaluate_timeline.py $(1) -t $(METADATA) -r $(CHUNKS) $(CORPUS_FLAGS) --seed $(SEED) \
  $(READY_TOPICS) $(REPORT_FLAGS) -o $(@D)
# The report has precocity measured first, and shows it. Of 7,000 passages a year, two cores measure two years a minute.
SECTION := $(if $(ELSEWHERE)$(filter precocity,$(MAKECMDGOALS))$(ALONE)$(filter yes,$(PRECOCITY)),precocity/$(TRAIN)/section.html)
# It also tells in which settings a finished model was kept as it is; TuneEmbeddings.py notes them in kept.json.
TUNED = $(call trained,$(filter-out base,$(COMPARED)))
$(OUTPUT)/settings/models/%/kept.json.txt: $(call stamps,models/%/training.json) FORCE | $(READY)
	$(stamp) 'KEPT = $(OUTPUT)/models/$*/kept.json'

$(OUTPUT)/report/$(TRAIN)/report.html: $(call stamps,$(COMPARED:%=embeddings/%/manifest.json) $(TUNED:%=models/%/kept.json) $(SECTION)) \
    $(REPORTING) | $(READY)
	$(call report,$(foreach one,$(COMPARED),$(one)=$(OUTPUT)/embeddings/$(one)) \
	  $(TUNED:%=--training $(OUTPUT)/models/%/training.json) $(SECTION:%=--section $(OUTPUT)/%))

# ---- the experiment: what does paraphrase change, or a flag of tuning? ----------------------------------------------
# EXPERIMENT_SETS = nopara nopara+long compares nopara with the same pairs tuned with TUNE_FLAGS_long, too.
RUNS := $(call runs,$(EXPERIMENT_TUNES))
# All embed the documents that the first run held out: enough to compare models by.
HELD_OUT := $(EXPERIMENT)/$(firstword $(RUNS))/training.json

experiment: $(EXPERIMENT)/report/report.html ## Tune without and with paraphrase, three seeds each; compare.
	@echo "The report: $<"

define experiment_run # model, seed
$(call training,$(EXPERIMENT)/$(1)-seed$(2),$(1),$(2),$$(EXPERIMENT_SPLIT:%=--split-seed %))

$(EXPERIMENT)/$(1)-seed$(2)/embeddings/manifest.json: $(EXPERIMENT)/$(1)-seed$(2)/training.json $(HELD_OUT) \
    $(APPLYING) $(call stamps,held) | $(READY)
	$$(call apply,$$(<D)/final $(EMBEDDED))
endef
$(foreach set,$(EXPERIMENT_TUNES),$(foreach seed,$(EXPERIMENT_SEEDS),$(eval $(call experiment_run,$(set),$(seed)))))

$(EXPERIMENT)/base/manifest.json: $(HELD_OUT) $(APPLYING) $(call stamps,held) | $(READY)
	$(call apply,$(BASE_MODEL) $(EMBEDDED))

$(EXPERIMENT)/report/report.html: $(EXPERIMENT)/base/manifest.json $(RUNS:%=$(EXPERIMENT)/%/embeddings/manifest.json) \
    $(REPORTING) $(call stamps,experiment) | $(READY)
	$(call report,base=$(EXPERIMENT)/base \
	  $(foreach run,$(RUNS) $(JOINED_RUNS),$(firstword $(subst -seed, ,$(run)))=$(EXPERIMENT)/$(run)/embeddings) \
	  $(patsubst %,--training $(EXPERIMENT)/%/training.json,$(call trained,$(RUNS) $(JOINED_RUNS))))

# ---- joined vectors; a topic model; a map; the heavy steps on a cluster; measurements -------------------------------
include $(filter-out settings.mk Makefile,$(PARTS))

# ---- checks ---------------------------------------------------------------------------------------------------------
test: $(VENV)/.installed-dev ## Run all tests, two of the four workers mostly waiting for test clusters.
	$(VENV)/bin/python -m pytest -n 4 --dist loadgroup

test-fast: $(VENV)/.installed-dev ## Run the tests that take seconds.
	$(VENV)/bin/python -m pytest -n 2 -m "not slow"

test-cluster: $(VENV)/.installed-dev ## Run the tests against a real Slurm and sshd (Debian, as root); fail without.
	CLUSTER_TESTS=insist $(VENV)/bin/python -m pytest tests/cluster

lint: $(VENV)/.installed-dev ## Check style and common mistakes.
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

format: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

# ---- cleaning -------------------------------------------------------------------------------------------------------
clean: ## Delete pairs, embeddings, counted words, precocity, maps, and reports; never paraphrases or models.
	rm -rf $(addprefix $(OUTPUT)/,pairs embeddings lsa precocity map report settings)
	rm -rf $(EXPERIMENT)/*-seed*/embeddings $(addprefix $(EXPERIMENT)/,base lsa report)

clean-paid: ## Say what paraphrases and models cost; delete them with CONFIRM=yes.
	@for journal in $(wildcard $(OUTPUT)/paraphrased/*.journal.jsonl); do \
	  tr ',{' '\n\n' < "$$journal" | awk -F : -v name="$$journal" '/^ *"usage": $$/ { replies++ } \
	    /^ *"total_tokens":/ { tokens += $$2 } /^ *"cost":/ { dollars += $$2 } \
	    END { printf "%s: %d paid replies, %d tokens, $$%.2f\n", name, replies, tokens, dollars }'; done
	@for record in $(wildcard $(OUTPUT)/models/*/training.json $(EXPERIMENT)/*/training.json); do \
	  awk -F : -v name="$${record%/*}" '/^ "seconds":/ { printf "%s: %.1f minutes of training\n", name, $$2 / 60 }' $$record; done
	@if [ "$(CONFIRM)" = yes ]; then rm -rf $(OUTPUT)/paraphrased $(OUTPUT)/models $(EXPERIMENT)/*-seed*; echo "deleted"; \
	  else echo "Nothing deleted. make clean-paid CONFIRM=yes deletes $(OUTPUT)/paraphrased and all models."; fi

# Whatever is asked for and neither exists nor can be made.
.DEFAULT:
	@echo "There is no $@ and no rule to make it; make settings shows which files are expected, make help the targets." >&2
	@exit 2
