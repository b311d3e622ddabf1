# Several models' vectors in one, and counted words. Part of the Makefile. TRAIN = para10+lsa joins para10 and counted
# words; para10+joined joins para10, para10+timeline, and counted words. What is held out, words aren't counted in either.

$(OUTPUT)/embeddings/lsa/manifest.json: fit_lsa.py $(call code,report tuning encoder) \
    $(call stamps,corpus lsa $(TUNES:%=models/%/training.json)) | $(READY)
	$(PYTHON) $< $(CORPUS) --seed $(SEED) $(TUNES:%=--training $(OUTPUT)/models/%/training.json) -o $(@D)

JOINING := join_embeddings.py $(call code,report encoder) $(call stamps,joined)
joining = $(PYTHON) join_embeddings.py $(1) $(JOIN_FLAGS) -o $(@D)
PARTS_JOINED := $(TUNES:%=embeddings/%) embeddings/lsa

ifneq ($(call joins,$(TRAIN)),)
$(OUTPUT)/embeddings/$(TRAIN)/manifest.json: $(JOINING) $(call stamps,$(PARTS_JOINED:%=%/manifest.json)) | $(READY)
	$(call joining,$(PARTS_JOINED:%=$(OUTPUT)/%))
endif

# The same in make experiment, seed by seed: EXPERIMENT_SETS = nopara+lsa.
JOINED_RUNS := $(call runs,$(JOINED_SETS))
$(EXPERIMENT)/report/report.html: $(JOINED_RUNS:%=$(EXPERIMENT)/%/embeddings/manifest.json)

$(EXPERIMENT)/lsa/manifest.json: fit_lsa.py $(HELD_OUT) $(call code,report tuning encoder) $(call stamps,corpus lsa held) | $(READY)
	$(PYTHON) $< $(CORPUS) --seed $(SEED) --training $(HELD_OUT) $(EMBEDDED) -o $(@D)

define experiment_joined # run, its parts
$(EXPERIMENT)/$(1)/embeddings/manifest.json: $(JOINING) $(2:%=%/manifest.json) | $(READY)
	$$(call joining,$(2))
endef
$(foreach set,$(JOINED_SETS),$(foreach seed,$(EXPERIMENT_SEEDS),$(eval $(call experiment_joined,$(set)-seed$(seed),\
  $(patsubst %,$(EXPERIMENT)/%-seed$(seed)/embeddings,$(call tunes,$(set))) $(EXPERIMENT)/lsa))))
