# What the job files share. Sourced by them, in the project's folder; not a job itself.

RESTARTS=20  # after so many a job ends for good: about a week of preemptions
PAUSE=10     # seconds before Slurm is asked again

set -o pipefail
ready=0
. slurm/environment.sh || ready=$?
set -e  # without -u: to bash before 4.4, an empty FLAGS=() would be a variable that is not set
export HF_HUB_OFFLINE=1 PYTHONNOUSERSITE=1 TOKENIZERS_PARALLELISM=true
# With several GPUs torchrun starts a process for each; it passes Slurm's signals on, and waits for the checkpoint.
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 PET_SHUTDOWN_TIMEOUT=240
LAUNCH=("$PYTHON" -u)
if [ "${SLURM_GPUS_ON_NODE:-1}" -gt 1 ]; then
  LAUNCH+=(-m torch.distributed.run --standalone --nproc_per_node="$SLURM_GPUS_ON_NODE")
fi

value_of() {  # 'NAME|NAME' WORD...: the last value of a flag among the words, given as --name value or --name=value
  local names="^($1)\$" word previous="" found=""
  for word in "${@:2}"; do
    if [[ $previous =~ $names ]]; then found=$word; fi
    if [[ $word == --*=* && ${word%%=*} =~ $names ]]; then found=${word#*=}; fi
    previous=$word
  done
  printf '%s\n' "$found"
}

output_of() { value_of '-o|--output|--outputdir|--outputpath|--outputfolder' "$@"; }

# Add this job to the ledger, unless delta.py or an earlier run has: so make knows jobs that were submitted by hand.
note_job() {  # WORD...: what it runs
  local id=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}
  if ! awk -F '\t' -v id="$id" '$4 == id { known = 1 } END { exit !known }' logs/jobs.tsv 2> /dev/null; then
    ledger_line "$id" "$@" >> logs/jobs.tsv || echo "logs/jobs.tsv cannot be written: make will not know this job" >&2
  fi
}

ledger_line() {  # ID WORD...: time, stage, model, id, user, what runs, and the file that says it is complete
  local id=$1 folder record stage submitted
  submitted=$(squeue -h -j "$id" -o %V 2> /dev/null | head -n 1) || true
  submitted=$(date -u -d "@$(date -d "${submitted:-now}" +%s)" +%FT%TZ 2> /dev/null) || submitted=$(date -u +%FT%TZ)
  folder=$(output_of "$@")
  folder=${folder%/} record=${folder%/}/manifest.json
  while [[ $# -gt 0 && $1 != *.py ]]; do shift; done
  case ${1:-} in
    TuneEmbeddings.py) stage=train record=$folder/training.json ;;
    Apply_Tuned_Model.py) stage=apply ;;
    calc_precocity_for_embeddings.py) stage=precocity ;;
    synthetic_data_generator.py) stage=paraphrase record=$folder.json folder=${folder%.tsv} ;;
    *) return 0 ;;
  esac
  case $folder in */models/* | */embeddings/* | */precocity/* | */paraphrased/*) folder=${folder##*/} ;; esac
  printf '%s\t' "$submitted" "$stage" "$folder" "$id" "${USER:-$(id -un)}" "$(printf '%q ' "$@")"
  printf '%s\n' "$record"
}

# A folder named for one model takes no other's vectors: whoever reads it goes by its name.
check_belongs() {  # WORD...
  local model folder name of
  case " $* " in *" Apply_Tuned_Model.py "*) ;; *) return 0 ;; esac
  model=$(value_of '-m|--modelpath' "$@")
  folder=$(output_of "$@")
  name=$(basename "$folder")
  of=$(sed -nE 's#^(.*/)?models/([^/]+)/(final|checkpoint-[0-9]+)/*$#\2#p' <<< "$model")
  if [ "$name" = "${of:-base}" ]; then return 0; fi
  if [[ $name =~ ^(base|(nopara|para[0-9]+)(\+.*)?)$ || ( -n $of && -e ${model%models/"$of"/*}models/$name ) ]]; then
    echo "$folder is named for another model than $model: change MODEL (-m) or EMBEDDINGS (-o)" >&2
    exit 2
  fi
}

# What comes before the work. SHOW_COMMAND: show the words, or their line of the ledger, and end.
begin() {  # WORD...
  case ${SHOW_COMMAND:-} in
    "") note_job "$@" ;;
    ledger) ledger_line "$SLURM_JOB_ID" "$@"; exit ;;
  esac
  check_belongs "$@"
  if [ -n "${SHOW_COMMAND:-}" ]; then printf '%s\n' "$@"; exit; fi
  if [ "$ready" != 0 ]; then exit "$ready"; fi
}

# Run the words as the job's one step. If Slurm stopped it early (time limit, preemption), have the job started again.
run_to_the_end() {
  local folder finished now status=0 restarts=${SLURM_RESTART_COUNT:-0}
  begin "$@"
  folder=$(output_of "$@")
  finished=$(written "$folder/training.json")
  echo "$(date '+%F %T') $SLURM_JOB_NAME $SLURM_JOB_ID on $(hostname), GPUs ${SLURM_GPUS_ON_NODE:-0}, restart $restarts"
  printf '%q ' "$@"; echo
  rm -f "$folder/stopped.json"
  # Bash puts the signal off until the step has ended, and does not die of it.
  trap : USR1 TERM
  srun --ntasks=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "$@" || status=$?
  echo "$(date '+%F %T') ended with status $status"
  # torchrun ends with 1 for a signal that comes when all is done. A training writes its record last.
  now=$(written "$folder/training.json")
  if [ -n "$now" ] && [ "$now" != "$finished" ]; then exit 0; fi
  # 75: stopped by a signal with a checkpoint, which torchrun turns into 1; 143 and 138: ended by a preemption's TERM
  # or by USR1, with what was done by then.
  case $status in
    0) ;;
    75 | 143 | 138) again ;;
    *) if [ -e "$folder/stopped.json" ]; then again; fi ;;
  esac
  exit "$status"
}

written() { stat -c '%i %Y' "$1" 2> /dev/null || true; }  # FILE: which file it is, and of what time

again() {
  # The last task of an array has the array's own number for its SLURM_JOB_ID.
  local id=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID} state try
  id=${id:-$SLURM_JOB_ID}
  for try in 1 2 3 4 5; do  # Slurm may be too busy to answer for a moment
    if [ "$try" -gt 1 ]; then sleep "$PAUSE" || true; fi
    state=$(squeue -h -j "$id" -o %T || true)
    if [ -z "$state" ]; then continue; fi
    # A job that was cancelled is not brought back.
    if [ "$state" != RUNNING ]; then return; fi
    if [ "${SLURM_RESTART_COUNT:-0}" -ge "$RESTARTS" ]; then
      echo "restarted $RESTARTS times: submit it again to go on" >&2
      return
    fi
    echo "goes on in a new run of job $id"
    if scontrol requeue "$id"; then return; fi
  done
  echo "Slurm did not answer, so the job ends here: submit it again to go on" >&2
}
