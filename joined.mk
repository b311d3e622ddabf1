# Two representations in one vector. Part of the Makefile. TRAIN = para10+lsa joins para10 and counted words, which are
# fitted without what para10 held out; TRAIN = para10+joined joins para10 and para10+timeline.

COUNTING := fit_lsa.py $(call code,report tuning encoder) $(call stamps,corpus lsa)
counting = $(PYTHON) fit_lsa.py $(CORPUS) --seed $(SEED) $(1) -o $(@D)

$(OUTPUT)/lsa/%/manifest.json: $(COUNTING) $(call stamps,models/%/training.json) | $(READY)
	$(call counting,--training $(OUTPUT)/models/$*/training.json)

JOINING := join_embeddings.py $(call code,report encoder) $(call stamps,joined)
joining = $(PYTHON) join_embeddings.py $(1) $(JOIN_FLAGS) -o $(@D)

define joined # model, its parts
$(OUTPUT)/embeddings/$(1)/manifest.json: $(JOINING) $(call stamps,$(2:%=%/manifest.json)) | $(READY)
	$$(call joining,$(2:%=$(OUTPUT)/%))
endef
$(eval $(call joined,$(SET)+lsa,embeddings/$(SET) lsa/$(SET)))
$(eval $(call joined,$(SET)+joined,embeddings/$(SET) embeddings/$(SET)+timeline))

# The same in make experiment, seed by seed. Words are counted without what any of its models held out.
JOINED_RUNS := $(call runs,$(JOINED_SETS))
$(EXPERIMENT)/report/report.html: $(JOINED_RUNS:%=$(EXPERIMENT)/%/embeddings/manifest.json)

$(EXPERIMENT)/lsa/manifest.json: $(COUNTING) $(call stamps,held) $(RUNS:%=$(EXPERIMENT)/%/training.json) | $(READY)
	$(call counting,$(RUNS:%=--training $(EXPERIMENT)/%/training.json) $(EMBEDDED))

define experiment_joined # run, its parts
$(EXPERIMENT)/$(1)/embeddings/manifest.json: $(JOINING) $(2:%=%/manifest.json) | $(READY)
	$$(call joining,$(2))
endef
second = $(if $(filter %+lsa,$(1)),$(EXPERIMENT)/lsa,$(EXPERIMENT)/$(call set_of,$(1))+timeline-seed$(2)/embeddings)
$(foreach set,$(JOINED_SETS),$(foreach seed,$(EXPERIMENT_SEEDS),$(eval $(call experiment_joined,$(set)-seed$(seed),\
  $(EXPERIMENT)/$(call set_of,$(set))-seed$(seed)/embeddings $(call second,$(set),$(seed))))))
