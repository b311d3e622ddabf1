# Two models' vectors in one: TRAIN=para10+joined joins those of para10 and para10+timeline. Part of the Makefile.

$(OUTPUT)/embeddings/$(SET)+joined/manifest.json: join_embeddings.py $(call code,report encoder) \
    $(call stamps,embeddings/$(SET)/manifest.json embeddings/$(SET)+timeline/manifest.json joined) | $(READY)
	$(PYTHON) $< $(OUTPUT)/embeddings/$(SET) $(OUTPUT)/embeddings/$(SET)+timeline $(JOIN_FLAGS) -o $(@D)
