# Check, submit and follow the jobs, on the cluster, in the project's folder. make does it over ssh; by hand:
#   bash slurm/jobs.sh status|logs|cancel [para20]
#   bash slurm/jobs.sh preflight|submit train|apply para20 [flags of sbatch] slurm/FILE.slurm [flags of the script]
# logs/jobs.tsv lists every job submitted this way: time, stage, model, job id (- where all was there already), user,
# what it runs, and the file that says it is complete.
set -uo pipefail

ROOM_GB=10  # EDIT: checkpoints and model take 4 GB, the vectors of a million passages 3
LEDGER=logs/jobs.tsv
FAULTS=0

fail() { echo "$*" >&2; exit 2; }

# ---- the ledger

jobs_of() {  # [model]: the last job of each stage, trainings first: stage, model, id, time, what it runs, record
  awk -F '\t' -v OFS='\t' -v only="${1:-}" 'only == "" || $3 == only { last[$2, $3] = $2 OFS $3 OFS $4 OFS $1 OFS $6 OFS $7 }
    END { for (name in last) print last[name] }' "$LEDGER" 2> /dev/null | sort -t $'\t' -k 2,2 -k 1,1r
}

note() {  # stage model id time what record: a line of the ledger
  printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$4" "$1" "$2" "$3" "${USER:-$(id -un)}" "$5" "$6" >> "$LEDGER"
}

NOT_ENDED='PENDING|RUNNING|SUSPENDED|COMPLETING|CONFIGURING|REQUEUE[A-Z_]*|RESIZING|STOPPED|SIGNALING'

is_underway() { grep -qE "$NOT_ENDED" <<< "$1"; }

state_of() {  # id time record: one word, or for an array the count of each state
  local said tasks accounted fault=""
  said=$(squeue -h -r -t all -j "$1" -o '%i %T' 2>&1) || fault=$said
  tasks=$(grep -xE '[0-9_]+ [A-Z_]+' <<< "$said")
  if ! is_underway "$tasks"; then
    # Slurm forgets each ended task of an array after minutes; accounting, where there is any, does not, but on a busy
    # cluster learns of an end seconds late: each task by its own number, from both.
    accounted=$(sacct -n -X -P -j "$1" -o JobID,State 2> /dev/null | tr '|' ' ' | cut -d ' ' -f 1,2)
    case $fault in
      "") ;;
      *"Invalid job id"*) accounted=$(sed -E "s/ ($NOT_ENDED)\$/ UNKNOWN/" <<< "$accounted") ;;  # its end was missed
      *) [ -n "$accounted" ] || fail "Slurm does not answer ($(tail -n 1 <<< "$said")); run the same command again later" ;;
    esac
    if [ -n "$accounted" ]; then
      tasks=$(awk 'NF { last[$1] = $2 } END { for (task in last) print task, last[task] }' <<< "$tasks"$'\n'"$accounted")
    elif ! grep -qvE ' COMPLETED$|^$' <<< "$tasks"; then tasks="$1 UNKNOWN"; fi
    # The record is written last: where the job's work was finished by hand, it is newer, too.
    if ! is_underway "$tasks" && grep -qv ' COMPLETED$' <<< "$tasks" && is_newer "$3" "$2"; then tasks="$1 COMPLETED"; fi
  fi
  cut -d ' ' -f 2 <<< "$tasks" | sort | uniq -c | awk '{ printf "%s%s", (NR > 1 ? "," : ""), ($1 > 1 ? $2 "×" $1 : $2) }'
}

is_newer() { [ -e "$1" ] && [[ ! $(date -u -r "$1" +%FT%TZ) < $2 ]]; }  # file time

underway() {  # stage model: whether its last job has not ended; LAST_ID, LAST_WORDS and LAST_RECORD tell which that is
  local time state
  IFS=$'\t' read -r _ _ LAST_ID time LAST_WORDS LAST_RECORD < <(jobs_of "$2" | grep "^$1"$'\t')
  [ -n "$LAST_ID" ] || return
  state=$(state_of "$LAST_ID" "$time" "$LAST_RECORD") || exit 2
  is_underway "$state"
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

option() {  # name: what sbatch makes of command line, environment and job file, by its own account in $OPTIONS
  sed -n "s/^sbatch: $1 *: //p" <<< "$OPTIONS"
}

minutes() {  # a time as Slurm writes it: [days-]hours:minutes:seconds, minutes:seconds, minutes, or none
  awk -v text="$1" 'BEGIN {
    if (text == "" || text ~ /UNLIMITED|INFINITE/) { print text == "" ? 0 : 1e9; exit }
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
  local answer partition asked
  if ! command -v sbatch > /dev/null; then say fault "no sbatch on $(hostname): DELTA has to name a login node"; return; fi
  mkdir -p logs
  if OPTIONS=$(sbatch --test-only -v "${SBATCH[@]+"${SBATCH[@]}"}" "$JOB" 2>&1); then
    say ok "account $(option account), partition $(option partition)"
  else
    answer=$(grep -v '^$' <<< "$OPTIONS" | tail -n 1)
    say fault "Slurm refuses the job with account '$(option account)' and partition '$(option partition)' ($answer); set \
DELTA_ACCOUNT (\`accounts\` lists yours) or DELTA_PARTITION, or edit $JOB"
  fi
  partition=$(option partition) asked=$(option time)
  if never_starts "${partition:-$(sinfo -h -o %P | sed -n 's/\*$//p')}" "$asked"; then
    say fault "--time=$asked is over the $LIMIT of partition $partition; ask for less, a stopped job goes on by itself"
  else
    say ok "time ${asked:-by default of the partition}"
  fi
}

never_starts() {  # partitions time: Slurm accepts a job that is longer than every partition allows, and never starts it
  local limits
  limits=$(scontrol show partition -o 2> /dev/null | sed -nE "s/^PartitionName=(${1//,/|}) .* MaxTime=([^ ]*).*/\2/p")
  for LIMIT in $limits; do
    if [ "$(minutes "$2")" -le "$(minutes "$LIMIT")" ]; then return 1; fi
  done
  [ -n "$limits" ]
}

read_command() {  # stage: the command the job would run, with its edits and the given flags; it begins with its script
  local words word previous="" folder=""
  words=$(SHOW_COMMAND=yes SLURM_SUBMIT_DIR=$PWD SLURM_ARRAY_TASK_ID=0 SLURM_GPUS_ON_NODE=1 \
    bash "$JOB" "${SCRIPT[@]+"${SCRIPT[@]}"}" 2>&1) || { say fault "$JOB: $words"; return 1; }
  COMMAND=() MODEL=""
  while IFS= read -r word; do
    if [ "${COMMAND[*]+x}" ] || [[ $word == *.py ]]; then COMMAND+=("$word"); fi
    case $previous in
      -m | --modelpath) MODEL=$word ;;
      -o | --outputdir | --outputpath) folder=$word ;;
    esac
    case $word in
      --modelpath=*) MODEL=${word#*=} ;;
      --outputdir=* | --outputpath=*) folder=${word#*=} ;;
    esac
    previous=$word
  done <<< "$words"
  if [ "$1" = train ]; then RECORD=$folder/training.json; else RECORD=$folder/manifest.json; fi
}

check_inputs() {  # stage model: the script itself looks at what it will read and where it will write
  local answer
  read_command "$1" || return
  if answer=$(HF_HUB_OFFLINE=1 "$PYTHON" "${COMMAND[@]}" --check 2>&1); then
    say ok "$(grep -v '^[0-9:]* settings:' <<< "$answer" | tail -n 1 | cut -d ' ' -f 2-)"
  else
    say fault "$(tail -n 1 <<< "$answer")"
  fi
  if [ "$1" = apply ]; then check_model "$2"; fi
}

makes_model() {  # model: whether the training under way, LAST_ID, is the one that makes MODEL
  underway train "$1" && [ "$(realpath -m "$MODEL")" = "$(realpath -m "$(dirname "$LAST_RECORD")/final")" ]
}

check_model() {  # the tuned model is there, or a training that will make it is under way
  if makes_model "$1"; then say ok "model: job $LAST_ID is training it; this job waits for its end"
  elif [ -e "$MODEL/modules.json" ]; then say ok "model $MODEL"
  elif [ "$1" != base ]; then say fault "model: $MODEL is not there and no job is training it; run make train first"
  elif HF_HUB_OFFLINE=1 "$PYTHON" -c 'import sys, TuneEmbeddings
TuneEmbeddings.load_model("-m", sys.argv[1], "cpu")' "$MODEL" 2> /dev/null; then say ok "model $MODEL"
  else say fault "model: $MODEL cannot be loaded; run make setup-delta, which fetches it"; fi
}

preflight() {  # stage model words…
  local stage=$1 model=$2
  shift 2
  split_words "$@"
  [ -e "$JOB" ] || fail "there is no $JOB here; run make sync-delta, or copy another job file of slurm/ to that name"
  . slurm/environment.sh || true
  check_slurm
  check_environment
  check_room
  if [ "$FAULTS" = 0 ]; then check_inputs "$stage" "$model"; fi
  [ "$FAULTS" = 0 ] || fail "$FAULTS fault(s); nothing was submitted"
}

# ---- submitting

lock() {  # two at once: the second waits here, and then finds the first one's job
  local try said
  for try in {1..240}; do
    # Left by a lost connection, it expires.
    find logs/.submitting -maxdepth 0 -mmin +2 -exec rmdir {} \; 2> /dev/null
    if said=$(LC_ALL=C mkdir logs/.submitting 2>&1); then
      trap 'rmdir logs/.submitting 2> /dev/null' EXIT
      trap 'exit 2' HUP INT TERM
      return
    fi
    [[ $said == *"File exists"* ]] || fail "$said: check the folder logs and the disk in $PWD"
    sleep 1
  done
  fail "logs/.submitting is there for $try seconds: delete it if nobody is submitting a job in $PWD"
}

submit() {  # stage model words…
  local stage=$1 model=$2 id time words after=()
  shift 2
  split_words "$@"
  mkdir -p logs
  read_command "$stage" || fail "$JOB cannot be read: mend it, then run the same command again"
  words=$(printf '%q ' "${SBATCH[@]+"${SBATCH[@]}"}" "$JOB" "${COMMAND[@]}")
  lock
  if underway "$stage" "$model"; then
    [ "$words" = "$LAST_WORDS" ] \
      || fail "another $stage of $model is under way (job $LAST_ID): make wait, or make cancel first"
    echo "job $LAST_ID does this already; nothing submitted"
    return
  fi
  time=$(date -u +%FT%TZ)
  # The checks have passed: a complete model was trained with these very pairs and settings.
  if [ "$stage" = train ] && [ -e "$RECORD" ] && [[ " ${COMMAND[*]} " != *" --overwrite "* ]]; then
    # Newer than the job that left it undone; and the ledger knows what was made by hand.
    touch "$RECORD"
    if [ "$RECORD" != "$LAST_RECORD" ]; then note "$stage" "$model" - "$time" "$words" "$RECORD"; fi
    echo "$(dirname "$RECORD") is complete already; nothing submitted"
    return
  fi
  # A failed training takes the dependent job along; it would stay pending for ever.
  if [ "$stage" = apply ] && makes_model "$model"; then
    after=("--dependency=afterok:$LAST_ID" --kill-on-invalid-dep=yes)
  fi
  trap '' HUP INT TERM  # nothing may come between a job and its line in the ledger
  id=$(sbatch --parsable "${SBATCH[@]+"${SBATCH[@]}"}" "${after[@]+"${after[@]}"}" "$JOB" "${SCRIPT[@]+"${SCRIPT[@]}"}") \
    || fail "sbatch refused $JOB; make preflight says why"
  id=${id%%;*}
  note "$stage" "$model" "$id" "$time" "$words" "$RECORD" \
    || { scancel "$id"; fail "job $id was cancelled, for $LEDGER cannot be written: make room on its disk"; }
  echo "submitted job $id ($stage $model${after[0]:+, after job $LAST_ID})"
}

# ---- following

state() {  # [model]: a line for each job: stage, model, id, state
  local stage model id time record state trained=""
  while IFS=$'\t' read -r stage model id time _ record; do
    state=$(state_of "$id" "$time" "$record") || exit 2
    if [ "$stage" = train ]; then trained="$model $time"; fi
    # How embeddings ended that were asked for before the last training says nothing any more.
    if [[ $trained == "$model "* && "$model $time" < $trained ]] && ! is_underway "$state"; then continue; fi
    printf '%s\t%s\t%s\t%s\n' "$stage" "$model" "$id" "$state"
  done < <(jobs_of "${1:-}")
}

logs_of() { ls -t logs/*-"$1".out logs/*-"$1"_*.out 2> /dev/null; }  # id: its log files, the newest first

status() {
  local stage model id state log made found
  found=$(state "${1:-}") || exit 2
  [ -s "$LEDGER" ] || echo "no job was submitted by make here yet"
  while IFS=$'\t' read -r stage model id state && [ -n "$id" ]; do
    printf '%-6s %-8s job %-9s %s\n' "$stage" "$model" "$id" "$state"
    squeue -h -j "$id" -o '         %T for %M of %l, %r' 2> /dev/null | sort | uniq -c | sort -rn | sed 's/^ *\([0-9]*\) */         \1 × /' | head -n 3
    log=$(logs_of "$id" | head -n 1)
    if [ -n "$log" ]; then printf '         %s: %s\n' "$log" "$(last_line "$log")"
    elif [[ $state == *FAILED* ]]; then echo "         no log: the folder logs was missing when it started"; fi
  done <<< "$found"
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
  local stage model id state found some="" said left=""
  found=$(state "${1:-}" | sort) || exit 2
  while IFS=$'\t' read -r stage model id state && [ -n "$id" ]; do
    if ! is_underway "$state"; then continue; fi
    some=yes
    if said=$(scancel "$id" 2>&1) || [[ $said == *"already comp"* ]]; then echo "cancelled job $id ($stage $model)"
    else left="job $id ($stage $model) was not cancelled ($(tail -n 1 <<< "$said")): try again, or ask its owner, see squeue"; fi
  done <<< "$found"
  [ -z "$left" ] || fail "$left"
  [ -n "$some" ] || echo "no job of ${1:-this project} is waiting or running"
}

[ -e slurm/jobs.sh ] || fail "no slurm/jobs.sh in $PWD; run it in the project's folder"
case ${1:-} in
  preflight | submit | state | status | logs | cancel) "$@" ;;
  *) fail "usage: bash slurm/jobs.sh preflight|submit|state|status|logs|cancel …" ;;
esac
