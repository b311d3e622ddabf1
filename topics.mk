# A topic model beside the embeddings. Part of the Makefile.

topics: $(OUTPUT)/embeddings/topics/manifest.json ## Fit a topic model; make precocity TRAIN=topics measures by it.

# What any model held out is not fitted on.
HELD_OUT_FLAGS := $(addprefix --training ,$(wildcard $(OUTPUT)/models/*/training.json))
STEERS_topics += HELD_OUT_FLAGS

$(OUTPUT)/embeddings/topics/manifest.json: fit_topics.py $(call code,report encoder) $(call stamps,corpus topics) | $(READY)
	$(PYTHON) $< $(CORPUS) --seed $(SEED) $(HELD_OUT_FLAGS) $(TOPICS_FLAGS) -o $(@D)

# Once it is there, make report compares with it, instead of fitting another.
READY_TOPICS = $(if $(wildcard $(OUTPUT)/embeddings/topics/manifest.json),--topic-embeddings $(OUTPUT)/embeddings/topics)
STEERS_report += READY_TOPICS

DISTANCE_topics := --distance kl

precocity-topics: $(OUTPUT)/precocity/topics/manifest.json ## Measure precocity by a topic model, to be shown beside other models'.

# The precocity of other models, once measured, stands beside this one's. It is not measured again for that.
OTHERS := $(filter-out $(OUTPUT)/precocity/$(TRAIN)/manifest.json,$(wildcard $(OUTPUT)/precocity/*/manifest.json))
BESIDE := $(foreach other,$(OTHERS:$(OUTPUT)/precocity/%/manifest.json=%),--beside $(other)=$(OUTPUT)/precocity/$(other))

# Precocity that came from a cluster is explained by its embeddings once they are here, too; make makes none for that.
$(call stamps,beside-$(TRAIN)): FORCE | $(READY)
	$(stamp) $(OTHERS:%='OTHER = %') $(if $(ELSEWHERE),'EMBEDDINGS = $(OUTPUT)/embeddings/$(TRAIN)/manifest.json')
