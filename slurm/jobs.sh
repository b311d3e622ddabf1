# Check, submit and follow the jobs, on the cluster, in the project's folder. make does it over ssh; by hand:
#   bash slurm/jobs.sh status|logs|cancel [para20]
#   bash slurm/jobs.sh preflight|submit train|apply para20 [flags of sbatch] slurm/FILE.slurm [flags of the script]
# logs/jobs.tsv lists every job submitted this way: time, stage, model, job id, user, job file.
set -uo pipefail

ROOM_GB=10  # EDIT: checkpoints and model take 4 GB, the vectors of a million passages 3
LEDGER=logs/jobs.tsv

fail() { echo "$*" >&2; exit 2; }

# ---- the ledger

last_job() {  # stage model: the id of the job submitted last
  awk -F '\t' -v stage="$1" -v model="$2" '$2 == stage && $3 == model { id = $4 } END { print id }' "$LEDGER" 2> /dev/null
}

state_of() {  # stage model id: one word, or for an array the count of each state
  local states
  states=$(squeue -h -r -t all -j "$3" -o %T 2> /dev/null)
  # Slurm forgets an ended job after minutes; accounting, where there is any, does not.
  [ -n "$states" ] || states=$(sacct -n -X -P -j "$3" -o State 2> /dev/null | cut -d ' ' -f 1)
  if [ -z "$states" ]; then
    if is_whole "$1" "$2"; then states=COMPLETED; else states=UNKNOWN; fi
  fi
  sort <<< "$states" | uniq -c | awk '{ printf "%s%s", (NR > 1 ? "," : ""), ($1 > 1 ? $2 "×" $1 : $2) }'
}

is_whole() { [ -e "$(record_of "$1" "$2")" ]; }

record_of() {
  if [ "$1" = train ]; then echo "output/models/$2/training.json"; else echo "output/embeddings/$2/manifest.json"; fi
}

is_underway() { grep -qE 'PENDING|RUNNING|SUSPENDED|COMPLETING|CONFIGURING|REQUEUE|RESIZING|STOPPED|SIGNALING' <<< "$1"; }

underway() {  # stage model: the id of a job that has not ended
  local id
  id=$(last_job "$1" "$2")
  if [ -n "$id" ] && is_underway "$(state_of "$1" "$2" "$id")"; then echo "$id"; fi
}

# ---- checks: nothing is submitted unless all pass

split_words() {  # the job file divides the flags of sbatch from those of the script
  SBATCH=() JOB="" SCRIPT=()
  local word
  for word in "$@"; do
    if [ -n "$JOB" ]; then SCRIPT+=("$word")
    elif [[ $word == *.slurm ]]; then JOB=$word
    else SBATCH+=("$word"); fi
  done
}

option() {  # name variable: what sbatch will use, by the command line, else the environment, else the job file
  local word
  for word in "${SBATCH[@]+"${SBATCH[@]}"}"; do
    case $word in --"$1"=*) echo "${word#*=}"; return ;; esac
  done
  if [ -n "${!2:-}" ]; then echo "${!2}"; return; fi
  sed -n "s/^#SBATCH --$1=\([^ ]*\).*/\1/p" "$JOB" | tail -n 1
}

minutes() {  # a time as Slurm writes it: [days-]hours:minutes:seconds, minutes:seconds, minutes, or none
  awk -v text="$1" 'BEGIN {
    if (text == "" || text ~ /UNLIMITED|INFINITE/) { print 0; exit }
    days = 0; if (split(text, part, "-") == 2) { days = part[1]; text = part[2]; daily = 1 }
    n = split(text, field, ":")
    if (n == 3) m = field[1] * 60 + field[2] + (field[3] > 0)
    else if (daily) m = field[1] * 60 + field[2]
    else m = field[1] + (n == 2 && field[2] > 0)
    print days * 1440 + m }'
}

say() { if [ "$1" = ok ]; then echo "ok     $2"; else echo "FAULT  $2"; FAULTS=$((FAULTS + 1)); fi; }

check_environment() {
  local name
  for name in SBATCH_ACCOUNT SBATCH_PARTITION SBATCH_TIMELIMIT; do
    if [ -n "${!name:-}" ]; then say fault "$name=${!name} in your environment here overrides the job file: unset it"; fi
  done
  if "$PYTHON" -c 'import importlib.metadata as m; m.version("sentence-transformers"); m.version("torch")' 2> /dev/null
  then say ok "environment $PYTHON"
  else say fault "environment: $PYTHON lacks torch or sentence-transformers; run make setup-delta"; fi
}

check_room() {
  local free
  free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
  if [ "$free" -ge "$ROOM_GB" ]; then say ok "disk: $free GB free"
  else say fault "disk: $free GB free in $PWD, $ROOM_GB are needed; delete old models and checkpoints, or see quota"; fi
}

check_slurm() {
  local answer partition limit asked
  if ! command -v sbatch > /dev/null; then say fault "no sbatch on $(hostname): DELTA has to name a login node"; return; fi
  mkdir -p logs
  if answer=$(sbatch --test-only "${SBATCH[@]+"${SBATCH[@]}"}" "$JOB" 2>&1); then
    say ok "account $(option account SBATCH_ACCOUNT), partition $(option partition SBATCH_PARTITION)"
  else
    answer=$(grep -v '^$' <<< "$answer" | tail -n 1)
    say fault "Slurm refuses the job with account '$(option account SBATCH_ACCOUNT)' and partition '$(option partition \
      SBATCH_PARTITION)' ($answer); set DELTA_ACCOUNT (\`accounts\` lists yours) or DELTA_PARTITION, or edit $JOB"
  fi
  # Slurm accepts a job longer than its partition allows, and never starts it.
  partition=$(option partition SBATCH_PARTITION)
  limit=$(scontrol show partition "$partition" -o 2> /dev/null | grep -o 'MaxTime=[^ ]*' | cut -d = -f 2)
  asked=$(option time SBATCH_TIMELIMIT)
  if [ "$(minutes "$limit")" -gt 0 ] && [ "$(minutes "$asked")" -gt "$(minutes "$limit")" ]; then
    say fault "--time=$asked is over the $limit of partition $partition; ask for less, a stopped job goes on by itself"
  else
    say ok "time ${asked:-by default of the partition}"
  fi
}

read_command() {  # the command the job would run, its edits and the given flags included; COMMAND begins with its script
  local words word
  words=$(SHOW_COMMAND=yes SLURM_SUBMIT_DIR=$PWD SLURM_ARRAY_TASK_ID=0 SLURM_GPUS_ON_NODE=1 \
    bash "$JOB" "${SCRIPT[@]+"${SCRIPT[@]}"}" 2>&1) || { say fault "$JOB: $words"; return 1; }
  COMMAND=() MODEL=""
  while IFS= read -r word; do
    if [ "${COMMAND[*]+x}" ] || [[ $word == *.py ]]; then COMMAND+=("$word"); fi
    case ${previous:-} in -m | --modelpath) MODEL=$word ;; esac
    previous=$word
  done <<< "$words"
}

check_inputs() {  # stage model: the script itself looks at what it will read and where it will write
  local answer
  read_command || return
  if answer=$(HF_HUB_OFFLINE=1 "$PYTHON" "${COMMAND[@]}" --check 2>&1); then
    say ok "$(grep -v '^[0-9:]* settings:' <<< "$answer" | tail -n 1 | cut -d ' ' -f 2-)"
  else
    say fault "$(tail -n 1 <<< "$answer")"
  fi
  if [ "$1" = apply ]; then check_model "$2"; fi
}

check_model() {  # the tuned model is there, or a training that will make it is under way
  local training
  training=$(underway train "$1")
  if [ -n "$training" ]; then say ok "model: job $training is training it; this job waits for its end"
  elif [ -e "$(dirname "$MODEL")/training.json" ] || [ -e "$MODEL/modules.json" ]; then say ok "model $MODEL"
  elif [[ $1 == base ]] && HF_HUB_OFFLINE=1 "$PYTHON" -c 'import sys, TuneEmbeddings
TuneEmbeddings.load_model("-m", sys.argv[1], "cpu")' "$MODEL" 2> /dev/null; then say ok "model $MODEL"
  else say fault "model: $MODEL is not there and no job is training it; run make train first"; fi
}

preflight() {  # stage model words…
  local stage=$1 model=$2
  shift 2
  split_words "$@"
  FAULTS=0
  [ -e "$JOB" ] || fail "there is no $JOB here; run make sync-delta, or copy another job file of slurm/ to that name"
  . slurm/environment.sh || true
  check_slurm
  check_environment
  check_room
  if [ "$FAULTS" = 0 ]; then check_inputs "$stage" "$model"; fi
  [ "$FAULTS" = 0 ] || fail "$FAULTS fault(s); nothing was submitted"
}

# ---- submitting

submit() {  # stage model words…
  local stage=$1 model=$2 id training after=()
  shift 2
  split_words "$@"
  mkdir -p logs
  # Two at once: the second waits here, and then finds the first one's job. A lock left by a lost connection expires.
  find logs/.submitting -maxdepth 0 -mmin +2 -exec rmdir {} \; 2> /dev/null
  until mkdir logs/.submitting 2> /dev/null; do sleep 1; done
  trap 'rmdir logs/.submitting 2> /dev/null' EXIT
  trap 'exit 2' HUP INT TERM
  id=$(underway "$stage" "$model")
  if [ -n "$id" ]; then echo "job $id does this already; nothing submitted"; return; fi
  # The checks have passed: a complete model was trained with these very pairs and settings.
  if [ "$stage" = train ] && is_whole train "$model" && [[ " ${SCRIPT[*]-} " != *" --overwrite "* ]]; then
    echo "output/models/$model is complete already; nothing submitted"
    return
  fi
  training=$(underway train "$model")
  # A failed training takes the dependent job along; it would stay pending for ever.
  if [ "$stage" = apply ] && [ -n "$training" ]; then after=("--dependency=afterok:$training" --kill-on-invalid-dep=yes); fi
  id=$(sbatch --parsable "${SBATCH[@]+"${SBATCH[@]}"}" "${after[@]+"${after[@]}"}" "$JOB" "${SCRIPT[@]+"${SCRIPT[@]}"}") \
    || fail "sbatch refused $JOB; make preflight says why"
  id=${id%%;*}
  printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$(date -u +%FT%TZ)" "$stage" "$model" "$id" "${USER:-$(id -un)}" "$JOB" >> "$LEDGER"
  echo "submitted job $id ($stage $model${after[0]:+, after job $training})"
}

# ---- following

jobs_of() {  # [model]: stage, model and id of the last job of each stage, trainings first
  awk -F '\t' -v only="${1:-}" 'only == "" || $3 == only { last[$2 "\t" $3] = $4 }
    END { for (name in last) print name "\t" last[name] }' "$LEDGER" 2> /dev/null | sort -k 2,2 -k 1,1r
}

state() {  # [model]: a line for each job: stage, model, id, state
  local stage model id
  while IFS=$'\t' read -r stage model id; do
    printf '%s\t%s\t%s\t%s\n' "$stage" "$model" "$id" "$(state_of "$stage" "$model" "$id")"
  done < <(jobs_of "${1:-}")
}

logs_of() { ls -t logs/*-"$1".out logs/*-"$1"_*.out 2> /dev/null; }  # id: its log files, the newest first

status() {
  local stage model id state log made
  [ -s "$LEDGER" ] || echo "no job was submitted by make here yet"
  while IFS=$'\t' read -r stage model id state; do
    printf '%-6s %-8s job %-9s %s\n' "$stage" "$model" "$id" "$state"
    squeue -h -j "$id" -o '         %T for %M of %l, %r' 2> /dev/null | sort | uniq -c | sort -rn | sed 's/^ *\([0-9]*\) */         \1 × /' | head -n 3
    log=$(logs_of "$id" | head -n 1)
    if [ -n "$log" ]; then printf '         %s: %s\n' "$log" "$(last_line "$log")"
    elif ! is_underway "$state"; then echo "         no log: the folder logs was missing when it started"; fi
  done < <(state "${1:-}")
  for made in output/models/*/training.json; do [ -e "$made" ] && echo "model  $(dirname "$made"): complete"; done
  for made in output/embeddings/*/; do [ -d "$made" ] && echo "embeddings ${made%/}: $(decades_in "$made")"; done
  return 0
}

decades_in() {
  echo "$(find "$1decades" -name '*.json' 2> /dev/null | wc -l) decades, $([ -e "$1manifest.json" ] && echo complete || echo not complete)"
}

last_line() { tail -c 4000 "$1" | tr '\r' '\n' | grep -v '^ *$' | tail -n 1 | cut -c 1-110; }

logs() {  # model [follow]
  local id files=()
  for id in $(jobs_of "$1" | cut -f 3); do
    while IFS= read -r file; do files+=("$file"); done < <(logs_of "$id" | head -n 3)
  done
  [ ${#files[@]} -gt 0 ] || fail "no log of $1 yet: make status tells whether its job waits"
  if [ "${2:-}" = follow ]; then exec tail -n 20 -F "${files[@]}"; fi
  local file
  for file in "${files[@]}"; do echo "==> $file"; tr '\r' '\n' < "$file" | tail -n 25; done
}

cancel() {  # [model]: those that wait for another job first
  local stage model id state some=""
  while IFS=$'\t' read -r stage model id state; do
    if is_underway "$state"; then scancel "$id" && echo "cancelled job $id ($stage $model)" && some=yes; fi
  done < <(state "${1:-}" | sort)
  [ -n "$some" ] || echo "no job of ${1:-this project} is waiting or running"
}

[ -e slurm/jobs.sh ] || fail "no slurm/jobs.sh in $PWD; run it in the project's folder"
case ${1:-} in
  preflight | submit | state | status | logs | cancel) "$@" ;;
  *) fail "usage: bash slurm/jobs.sh preflight|submit|state|status|logs|cancel …" ;;
esac
