# What the job files share. Sourced by them, in the project's folder; not a job itself.

RESTARTS=20  # after so many a job ends for good: about a week of preemptions
PAUSE=10     # seconds before Slurm is asked again

set -eo pipefail
. slurm/environment.sh
set -u
export HF_HUB_OFFLINE=1 PYTHONNOUSERSITE=1 TOKENIZERS_PARALLELISM=false
# With several GPUs torchrun starts a process for each; it passes Slurm's signals on, and waits for the checkpoint.
export PET_SIGNALS_TO_HANDLE=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 PET_SHUTDOWN_TIMEOUT=240
LAUNCH=("$PYTHON" -u)
if [ "${SLURM_GPUS_ON_NODE:-1}" -gt 1 ]; then
  LAUNCH+=(-m torch.distributed.run --standalone --nproc_per_node="$SLURM_GPUS_ON_NODE")
fi

output_of() {  # the value of the last -o or --outputdir among the words
  local word previous="" found=""
  for word in "$@"; do
    case $previous in -o | --outputdir | --outputpath | --outputfolder) found=$word ;; esac
    case $word in --outputdir=* | --outputpath=* | --outputfolder=*) found=${word#*=} ;; esac
    previous=$word
  done
  printf '%s\n' "$found"
}

# Run the words as the job's one step. If Slurm stopped it early (time limit, preemption), have the job started again.
run_to_the_end() {
  if [ -n "${SHOW_COMMAND:-}" ]; then printf '%s\n' "$@"; exit 0; fi
  local folder word words=() status=0 restarts=${SLURM_RESTART_COUNT:-0}
  folder=$(output_of "$@")
  for word in "$@"; do
    # The first run has deleted the earlier training, its record first; a later one goes on with its own.
    if [ "$word" = --overwrite ] && [ "$restarts" -gt 0 ] && [ ! -e "$folder/training.json" ]; then continue; fi
    words+=("$word")
  done
  echo "$(date '+%F %T') $SLURM_JOB_NAME $SLURM_JOB_ID on $(hostname), GPUs ${SLURM_GPUS_ON_NODE:-0}, restart $restarts"
  printf '%q ' "${words[@]}"; echo
  rm -f "$folder/stopped.json"
  # Bash puts the signal off until the step has ended, and does not die of it.
  trap : USR1 TERM
  srun --ntasks=1 --cpus-per-task="${SLURM_CPUS_PER_TASK:-1}" "${words[@]}" || status=$?
  echo "$(date '+%F %T') ended with status $status"
  # 75: stopped by a signal with a checkpoint, which torchrun turns into 1; 143 and 138: killed by a preemption's TERM
  # or by USR1 before Python could take it.
  case $status in
    0) ;;
    75 | 143 | 138) again ;;
    *) if [ -e "$folder/stopped.json" ]; then again; fi ;;
  esac
  exit "$status"
}

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
