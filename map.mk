# A map of the documents. Part of the Makefile; a cluster, which has no browser, does without.

map: $(OUTPUT)/map/$(TRAIN)/map.html ## Draw a map of the documents to walk in; it opens in any browser.
	@echo "The map: $<"

$(VENV)/.installed-map: requirements-map.txt constraints.txt $(VENV)/.installed
	$(VENV)/bin/python -m pip install $(PIP_FLAGS) -r requirements-map.txt -c constraints.txt
	touch $@

# It shows precocity where that has been measured, or is to be measured first.
MEASURED := precocity/$(TRAIN)/manifest.json
FIRST := $(filter precocity $(if $(SECTION),report evaluate),$(MAKECMDGOALS))
MEASURED := $(if $(FIRST)$(wildcard $(OUTPUT)/$(MEASURED)),$(MEASURED))

$(OUTPUT)/map/%/map.html: draw_map.py $(call code,report precocity encoder) \
    $(call stamps,embeddings/%/manifest.json $(MEASURED) map) | $(READY:%=%-map)
	$(PYTHON) $< $(OUTPUT)/embeddings/$* -t $(METADATA) $(if $(MEASURED),--precocity $(OUTPUT)/precocity/$*) \
	  --seed $(SEED) $(MAP_FLAGS) -o $(@D)

# The report shows the still map, too, where there is a map or one is to be drawn first.
MAPPED := $(filter map,$(MAKECMDGOALS))$(wildcard $(OUTPUT)/map/$(TRAIN)/map.html)
ifneq ($(MAPPED),)
$(OUTPUT)/report/$(TRAIN)/report.html: $(call stamps,map/$(TRAIN)/map.html)
$(OUTPUT)/report/$(TRAIN)/report.html: SECTION += map/$(TRAIN)/section.html
endif

# Its packages clash with ours, so it has an environment of its own.
$(VENV)-atlas/.installed: requirements-atlas.txt
	$(PYTHON3) -m venv $(VENV)-atlas
	$(VENV)-atlas/bin/python -m pip install $(PIP_FLAGS) --no-deps -r $<
	touch $@

map-atlas: $(OUTPUT)/map/$(TRAIN)/map.html $(VENV)-atlas/.installed ## Open the map's table in embedding-atlas (0.6 GB).
	$(VENV)-atlas/bin/embedding-atlas $(<D)/map.parquet --x x --y y --text title --neighbors neighbors
