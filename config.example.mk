# Copy this to config.mk (git ignores it) and change what differs for your corpus. Every line is optional.
# `make settings` shows what is in force. A value on the command line wins, for that one call only: what shall last
# belongs here, or the next call makes it anew with the settings it finds.

# ---- the corpus ----
# A tab-separated table with a header; columns paperId and year are needed, others are welcome.
#METADATA = data/metadata.tsv
# One text file per document, <paperId>.txt, a line per passage: <index><TAB><text>.
#CHUNKS = data/chunks
# Where chunk files are not all valid UTF-8: put U+FFFD in place of what isn't.
#CORPUS_FLAGS = --encoding-errors replace
# Where everything made goes.
#OUTPUT = output
# Years: the first counts, the last doesn't. Left empty: all.
#START_YEAR = 1900
#END_YEAR = 2018

# ---- pairs ----
#SEED = 0
# No year gives more pairs than this; the years are levelled below it (select_training_pairs_final.py --help).
#PAIRS_PER_YEAR = 400
# Which model: para10 (10% of the pairs paraphrased), para20, para with any other percentage, or nopara.
#TRAIN = para10
# Where many years have only a pair or two, levelling cuts all years down to that; 1 leaves them as they are.
#PAIRS_FLAGS = --level-quantile 1

# Where a year has too few neighbouring passages for as many pairs as the paraphrase set: go on with fewer.
#NOPARA_FLAGS = --allow-shortfall

# ---- paraphrases ----
# The key comes from the environment, never from this file: export OPENAI_API_KEY=…
# A server of your own instead of OpenAI's (vLLM, llama.cpp): export OPENAI_BASE_URL=http://127.0.0.1:8000/v1
#PARAPHRASE_FLAGS = --model gpt-6-luna --concurrency 32 --max-cost 5
# Fiction: two steps, the second gives one character another name (prompts.toml).
#PARAPHRASE_FLAGS = --prompt-set fiction
# For a server of your own name the model it serves. To finish without rows that no reply was good enough for:
#PARAPHRASE_FLAGS = --model my-model --accept-rejects drop
# A command that is put before the paraphraser, e.g. one that starts a server for it (see demo/demo.mk).
#PARAPHRASER =

# ---- tuning and embedding ----
# A name on the Hugging Face hub, or a folder.
#BASE_MODEL = sentence-transformers/all-distilroberta-v1
# With fewer than some hundred documents hold out more of them than the default 5%, and with fewer than some thousand pairs
# learn faster than by the default 5e-5 (benchmarks/TUNING.md).
#TUNE_FLAGS = --eval-fraction 0.2 --learning-rate 1e-4 --batch-size 32
# The published settings instead: TUNE_FLAGS = --recipe replication
#APPLY_FLAGS = --dtype float16
# The tuned model's vectors as they come, not half centred and softly whitened (benchmarks/TUNING.md shows what that does).
#ADJUST_FLAGS = --centre 0 --whiten 0

# ---- precocity ----
# Documents by the same author (the metadata's column author) and passages that share six words are left out.
#PRECOCITY_FLAGS = --exclude-same-author --exclude-quotes -r $(CHUNKS)
# Only some years' documents, compared with all years that are embedded.
#PRECOCITY_FLAGS = -s 1920 -e 1950
# Exclusions of your own; float64 for numbers equal to the published ones to 1e-6; a GPU.
#PRECOCITY_FLAGS = -a same_author.tsv -c quoting.tsv --dtype float64 --device auto
# Numeric columns of the metadata to explain by precocity, and which of the table's values the pictures show.
#PRECOCITY_REPORT_FLAGS = --covariate citations --covariate author_age --fraction 0.05 --radius 10

# ---- Delta, or another Slurm cluster ----
# Put this into ~/.ssh/config: one password and one tap of Duo then open a connection that everything else shares.
#   Host delta
#     HostName login.delta.ncsa.illinois.edu
#     User YOUR_NCSA_NAME
#     ControlMaster auto
#     ControlPath ~/.ssh/cm-%C
#     ControlPersist 8h
#     ServerAliveInterval 15
#     ServerAliveCountMax 3
#   Host campus
#     HostName cli-dtn.researchdata.illinois.edu
#     User YOUR_NETID
#     ControlMaster auto
#     ControlPath ~/.ssh/cm-%C
#     ControlPersist 8h
#     ServerAliveInterval 15
#     ServerAliveCountMax 3
# The ssh host. Empty on the cluster itself: then the same targets submit directly.
#DELTA = delta
# The project's folder there; one corpus a folder.
#DELTA_DIR = /projects/bbiq/novelty/tunedembeddings
# How to call ssh, where the stanzas above are not in ~/.ssh/config.
#SSH = ssh -F my_ssh_config
# What is charged: Delta's command `accounts` lists yours. Left empty: as the job files have it.
#DELTA_ACCOUNT = abcd-delta-gpu
#DELTA_PARTITION = gpuA40x4
# More flags of sbatch for the two kinds of jobs.
#TRAIN_SBATCH = --time=02:00:00 --gpus-per-node=4
#APPLY_SBATCH = --partition=gpuA100x4-preempt
# Where make pull-embeddings sends the decades instead of here: host:path, a folder named by TRAIN is made below it.
#CAMPUS = campus:/projects/mine/embeddings
# More flags of pip for make setup-delta.
#DELTA_PIP_FLAGS =

# ---- report ----
# Compare with a topic model, too: --topics 250, as in the paper.
#REPORT_FLAGS = --title "My journals, 1900–2017" --topics 50
# What make experiment tunes: without and with paraphrase, and with which seeds.
#EXPERIMENT_SETS = nopara para10 para20
#EXPERIMENT_SEEDS = 0 1 2

# ---- environment ----
# With an environment of your own (a cluster's module, conda): no .venv is made.
#PYTHON = python
# Extra flags for pip, e.g. an index with CPU builds of PyTorch, which are much smaller.
#PIP_FLAGS =
