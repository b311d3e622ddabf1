# Copy this to config.mk (git ignores it) and change what differs for your corpus. Every line is optional.
# `make settings` shows what is in force. A value on the command line wins, but for that one call only. Permanent
# settings belong here; otherwise the next call finds other settings and repeats the steps they affect (but never
# retrains a finished model).
# Put titles and file names with spaces in quotation marks. For a dollar sign write $$, in single quotes; for #, write \#.

# ---- the corpus ----
# A tab-separated table with a header. It needs the columns paperId and year; others are welcome.
#METADATA = data/metadata.tsv
# One text file per document, <paperId>.txt, a line per passage: <index><TAB><text>.
#CHUNKS = data/chunks
# If some chunk files are not valid UTF-8: replace what isn't with U+FFFD.
#CORPUS_FLAGS = --encoding-errors replace
# The folder for everything that is made.
#OUTPUT = output
# Years: the first counts, the last doesn't. Leave both empty for all years.
#START_YEAR = 1900
#END_YEAR = 2018

# ---- pairs ----
#SEED = 0
# No year gives more pairs than this. Below it, the years are leveled (docs/pairs.md).
#PAIRS_PER_YEAR = 400
# Which model: para10 (10% of the pairs paraphrased), para20, para with any other percentage, or nopara.
# para10+lsa joins its vectors with counted words. para10+timeline is a second model of the same pairs, with
# --recombine 1, and para10+joined joins the vectors of both models.
#TRAIN = para10
# If many years have only a pair or two, leveling cuts all years down to that; 1 turns it off.
#PAIRS_FLAGS = --level-quantile 1
# If a year has too few neighboring passages for as many pairs as the paraphrase set has: go on with fewer.
#NOPARA_FLAGS = --allow-shortfall

# ---- paraphrases ----
# The key comes from the environment, never from this file: export OPENAI_API_KEY=…
# A server of your own instead of OpenAI's (vLLM, llama.cpp): export OPENAI_BASE_URL=http://127.0.0.1:8000/v1
#PARAPHRASE_FLAGS = --model gpt-6-luna --concurrency 32 --max-cost 5
# Fiction: a second step gives one character another name (prompts.toml).
#PARAPHRASE_FLAGS = --prompt-set fiction
# For a server of your own, name the model it serves. To leave out rows for which no reply was good enough:
#PARAPHRASE_FLAGS = --model my-model --accept-rejects drop
# A command to put before the paraphraser, such as one that starts a server for it (see demo/demo.mk).
#PARAPHRASER =

# ---- tuning and embedding ----
# A name on the Hugging Face hub, or a folder.
#BASE_MODEL = sentence-transformers/all-distilroberta-v1
# With fewer than a few hundred documents, hold out more of them than the default 5%. With a few hundred pairs,
# use a higher learning rate than the default 5e-5 (benchmarks/TUNING.md).
#TUNE_FLAGS = --eval-fraction 0.2 --learning-rate 1e-4 --batch-size 32
# The published settings instead: TUNE_FLAGS = --recipe replication
#APPLY_FLAGS = --dtype float16
# The model as training left it, without the centering and whitening that are otherwise added to it (docs/tuning.md):
#TUNE_FLAGS = --centre 0 --whiten 0
# Further flags, for a second model beside the first: TRAIN = para10+long (docs/tuning.md).
#TUNE_FLAGS_long = --epochs 9
# The share of counted words, or of the second model, in joined vectors.
#JOIN_FLAGS = --share 0.5

# ---- precocity ----
# Leave out documents by the same author (the metadata's column author) and passages that share six words in a row.
#PRECOCITY_FLAGS = --exclude-same-author --exclude-quotes -r $(CHUNKS)
# Measure only the documents of some years, compared with all years that are embedded.
#PRECOCITY_FLAGS = -s 1920 -e 1950
# Exclusions of your own; float64, which equals the published numbers to 1e-6; a GPU.
#PRECOCITY_FLAGS = -a same_author.tsv -c quoting.tsv --dtype float64 --device auto
# The topic model of make topics and make precocity TRAIN=topics:
#TOPICS_FLAGS = --topics 250 --iterations 400
# What to explain by precocity: numeric columns of the metadata, and two groups of documents (docs/precocity.md).
#PRECOCITY_REPORT_FLAGS = --outcome citations --outcome author_age --groups reprints=high,low --date years-5
# Which of the table's values the pictures show:
#PRECOCITY_REPORT_FLAGS = --fraction 0.05 --radius 10
# Explain a document of your choice, too, and show what its passages say (mind the license of your corpus):
#PRECOCITY_REPORT_FLAGS = --explain 10.2307/1234 --show-text
# The report without precocity, where measuring it takes hours. This is the default where CAMPUS is set.
#PRECOCITY = no

# ---- Delta, or another Slurm cluster ----
# Put this into ~/.ssh/config. Then one password and one tap of Duo open a connection that everything else shares.
#   Host delta
#     HostName login.delta.ncsa.illinois.edu
#     User YOUR_NCSA_NAME
#     ControlMaster auto
#     ControlPath ~/.ssh/cm-%C
#     ControlPersist 8h
#     ServerAliveInterval 15
#     ServerAliveCountMax 3
#   Host campus
#     HostName cc-login.campuscluster.illinois.edu
#     User YOUR_NETID
#     ControlMaster auto
#     ControlPath ~/.ssh/cm-%C
#     ControlPersist 8h
#     ServerAliveInterval 15
#     ServerAliveCountMax 3
# The ssh host. Empty on the cluster itself, where the same targets submit directly.
#DELTA = delta
# The project's folder there; one folder per corpus.
#DELTA_DIR = /projects/bbiq/novelty/tunedembeddings
# How to call ssh, if the lines above are not in ~/.ssh/config.
#SSH = ssh -F my_ssh_config
# The account to charge; Delta's command `accounts` lists yours. If empty, the job files decide.
#DELTA_ACCOUNT = abcd-delta-gpu
#DELTA_PARTITION = gpuA40x4
# More flags of sbatch for the two kinds of jobs.
#TRAIN_SBATCH = --time=02:00:00 --gpus-per-node=4
#APPLY_SBATCH = --partition=gpuA100x4-preempt
# Several GPUs embed, each an equal number of passages: faster from some millions of passages on.
#SHARDS = 4
# Where make pull-embeddings sends the decades instead of here, and make precocity-cluster measures: host:path. Each
# model's embeddings get a folder named by TRAIN below it. The host is a login node: a transfer node, such as
# cli-dtn.researchdata.illinois.edu, takes embeddings but submits no jobs.
#CAMPUS = campus:/projects/mine/embeddings
# Flags of sbatch for precocity there.
#PRECOCITY_SBATCH = --partition=secondary --account=mine-ic
# More flags of pip for make setup-delta.
#DELTA_PIP_FLAGS =

# ---- report ----
# Compare with a topic model, too. The paper has --topics 250.
#REPORT_FLAGS = --title "My journals, 1900–2017" --topics 50
# The map shows at most 50,000 passages, drawn at random from more.
#MAP_FLAGS = --passages 200000
# What make experiment tunes, and with which seeds. nopara+long is nopara with TUNE_FLAGS_long as well. nopara+joined is
# nopara, nopara+timeline, and joined vectors.
#EXPERIMENT_SETS = nopara para10 para20
#EXPERIMENT_SEEDS = 0 1 2
# The same models on other held-out documents, in a folder of their own.
#EXPERIMENT = output/experiment-1
#EXPERIMENT_SPLIT = 1
# Embed all documents, as make report does, instead of the held-out ones alone.
#EXPERIMENT_EMBEDS = all

# ---- environment ----
# With an environment of your own (a cluster's module, conda): no .venv is made.
#PYTHON = python
# More flags of pip, such as an index with CPU builds of PyTorch, which are much smaller.
#PIP_FLAGS =
