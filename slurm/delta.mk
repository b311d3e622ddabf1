# The heavy steps on a Slurm cluster, NCSA's Delta by default. Part of the Makefile; delta.py does the work.
# DELTA= (empty) on the cluster itself. DRY_RUN=1 prints the commands and runs none.

# Names on the cluster are those of the job files, whatever they are here; on the cluster itself they are the same.
FAR_OUTPUT = $(if $(DELTA),output,$(OUTPUT))
given = $(if $(filter $(1),$(GIVEN)),$(2))
given_there = $(if $(DELTA),,$(call given,$(1),$(2)))

# The environment where there is one. Otherwise PYTHON3: oldest_python.py says if it is too old.
ANY_PYTHON = $(if $(READY),$(or $(wildcard $(PYTHON)),$(PYTHON3)),$(PYTHON))
AT_DELTA = $(ANY_PYTHON) delta.py --host '$(DELTA)' --folder '$(DELTA_DIR)' --ssh '$(SSH)' $(if $(DRY_RUN),--dry-run) \
  --train $(TRAIN) --output $(OUTPUT) $(if $(CAMPUS),--campus '$(CAMPUS)') $(if $(filter campus,$(AT)),--at-campus)
DATA = -t $(METADATA) -r $(CHUNKS) $(YEARS)
QUEUE = $(if $(DELTA_ACCOUNT),--account '$(DELTA_ACCOUNT)') $(if $(DELTA_PARTITION),--partition '$(DELTA_PARTITION)')
SPLIT = $(if $(filter-out 1,$(SHARDS)),--shards '$(SHARDS)')
TRAIN_JOB = $(QUEUE) --sbatch='$(TRAIN_SBATCH)' -- $(call given,BASE_MODEL,--base-model $(BASE_MODEL)) \
  $(call given,SEED,--seed $(SEED)) \
  $(call given_there,OUTPUT,-d $(OUTPUT)/$(call table_of,$(TRAIN)) -o $(OUTPUT)/models/$(TRAIN)) \
  $(call given_there,METADATA,-t $(METADATA)) $(call given_there,CHUNKS,-r $(CHUNKS)) $(CORPUS_FLAGS) $(TUNE_FLAGS) \
  $(TUNE_FLAGS_$(call variant_of,$(TRAIN)))
MODEL = $(if $(filter base,$(TRAIN)),$(BASE_MODEL),$(FAR_OUTPUT)/models/$(TRAIN)/final)
APPLY_JOB = $(QUEUE) $(SPLIT) --sbatch='$(APPLY_SBATCH)' -- \
  $(if $(filter TRAIN,$(GIVEN))$(call given_there,OUTPUT,yes),-m $(MODEL) -o $(FAR_OUTPUT)/embeddings/$(TRAIN)) \
  $(call given_there,METADATA,-t $(METADATA)) $(call given_there,CHUNKS,-r $(CHUNKS)) --only-these-years $(YEARS) $(CORPUS_FLAGS) \
  $(APPLY_FLAGS)

PRECOCITY_JOB = --sbatch='$(PRECOCITY_SBATCH)' -- $(YEARS) $(CORPUS_FLAGS) $(PRECOCITY_FLAGS)

connect: ## Open the ssh connection that the targets below share: one password, one tap of Duo.
	@$(AT_DELTA) connect

setup-delta: ## Make the folder and the environment on Delta, fetch the base model.
	@$(AT_DELTA) --base-model $(BASE_MODEL) --pip-flags='$(filter --trust-remote-code,$(TUNE_FLAGS)) $(DELTA_PIP_FLAGS)' setup

sync-delta: ## Send scripts, job files, pairs, metadata and chunk files.
	@$(AT_DELTA) $(DATA) sync

preflight: ## Check all that could fail once jobs wait in the queue.
	@$(AT_DELTA) $(DATA) preflight $(TRAIN_JOB)

train: ## Check, then submit the tuning job (TRAIN=para10|para20|nopara).
	@$(AT_DELTA) $(DATA) train $(TRAIN_JOB)

apply: ## Check, then submit the embedding job, on SHARDS GPUs; it waits for a training under way.
	@$(AT_DELTA) $(DATA) apply $(APPLY_JOB)

status: ## Show jobs, their last lines and what is complete. AT=campus: at CAMPUS; logs, cancel, wait, too.
	@$(AT_DELTA) status

logs: ## Show the end of the newest logs of TRAIN (FOLLOW=1 goes on).
	@$(AT_DELTA) $(if $(FOLLOW),--follow) logs

cancel: ## Cancel the jobs of TRAIN.
	@$(AT_DELTA) cancel

wait: ## Return when the jobs of TRAIN have ended; fail if one did.
	@$(AT_DELTA) $(if $(EVERY),--every $(EVERY)) wait

pull-model: ## Bring the tuned model here.
	@$(AT_DELTA) pull-model

pull-embeddings: ## Bring the embeddings here, or to CAMPUS=host:path; whole, verified decades only.
	@$(AT_DELTA) pull-embeddings

precocity-cluster: ## Send code, metadata and settings to CAMPUS=host:path, make an environment, submit precocity.
	@$(AT_DELTA) $(DATA) --pip-flags='$(DELTA_PIP_FLAGS)' precocity $(PRECOCITY_JOB)

pull-precocity: ## Bring the table from CAMPUS, verified; make precocity and make report then use it.
	@$(AT_DELTA) pull-precocity

# Precocity that was measured there stays as it is: nothing is trained, embedded or measured for it here.
ifneq ($(ELSEWHERE),)
$(OUTPUT)/precocity/$(TRAIN)/manifest.json: $(METADATA) $(call stamps,precocity)
	@echo "$(@D) was measured on the cluster and stays as it is, though the metadata or settings of precocity are newer;" \
	  "make precocity-cluster measures again, and make pull-precocity brings that here."
endif
