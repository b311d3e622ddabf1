# Two models' vectors in one: TRAIN=para10+joined joins those of para10 and para10+timeline. Part of the Makefile.

$(OUTPUT)/embeddings/$(SET)+joined/manifest.json: join_embeddings.py $(call code,report encoder) \
    $(call stamps,embeddings/$(SET)/manifest.json embeddings/$(SET)+timeline/manifest.json joined) | $(READY)
	$(PYTHON) $< $(OUTPUT)/embeddings/$(SET) $(OUTPUT)/embeddings/$(SET)+timeline $(JOIN_FLAGS) -o $(@D)

# In make experiment, too, EXPERIMENT_SETS = nopara+joined joins the vectors of nopara and nopara+timeline, seed by seed.
JOINED_RUNS := $(call runs,$(JOINED_SETS))
$(EXPERIMENT)/report/report.html: $(JOINED_RUNS:%=$(EXPERIMENT)/%/embeddings/manifest.json)

define experiment_joined # set, seed
$(EXPERIMENT)/$(1)+joined-seed$(2)/embeddings/manifest.json: join_embeddings.py $(call code,report encoder) \
    $(foreach one,$(1) $(1)+timeline,$(EXPERIMENT)/$(one)-seed$(2)/embeddings/manifest.json) $(call stamps,joined) | $(READY)
	$$(PYTHON) $$< $(foreach one,$(1) $(1)+timeline,$(EXPERIMENT)/$(one)-seed$(2)/embeddings) $$(JOIN_FLAGS) -o $$(@D)
endef
$(foreach set,$(JOINED_SETS),$(foreach seed,$(EXPERIMENT_SEEDS),$(eval $(call experiment_joined,$(call set_of,$(set)),$(seed)))))
