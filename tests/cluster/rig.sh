#!/usr/bin/env bash
# One real Slurm node and two real ssh servers on 127.0.0.1, all state in one folder. See README.md beside this file.
#   rig.sh install | missing | start FOLDER | stop FOLDER
set -euo pipefail

PACKAGES=(slurm-wlm slurmdbd mariadb-server munge openssh-server openssh-client rsync lmod procps python3 python3-venv)
COMMANDS=(munged mariadbd mariadb-install-db mariadb slurmdbd slurmctld slurmd sacctmgr sbatch squeue sinfo sacct
          scancel scontrol sshd ssh ssh-keygen rsync pgrep python3)
LMOD=/usr/share/lmod/lmod/init/bash
SYSTEM_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
DELTA_PARTITIONS=(gpuA100x4 gpuA40x4 gpuA100x8 gpuH200x8)
ACCOUNTS=(bbiq-delta-cpu bbiq-delta-gpu)  # the first becomes root's default: Slurm insists on one

say() { echo "rig.sh: $*" >&2; }

fail() {  # MESSAGE [LOG]: says what went wrong, with the end of the log
  say "$1"
  if [[ -s ${2-} ]]; then tail -n 25 "$2" | sed "s|^|  ${2##*/}: |" >&2; fi
  exit 1
}

wait_for() {  # SECONDS LOG WHAT COMMAND...: until the command succeeds
  local end=$((SECONDS + $1)) log=$2 what=$3
  shift 3
  until "$@" >"$rig/log/wait" 2>&1; do
    if ((SECONDS >= end)); then fail "$what does not answer: $(tail -n 3 "$rig/log/wait")" "$log"; fi
    sleep 0.1
  done
}

# Daemons and jobs must not see the environment of whoever runs the tests.
clean() { env -i PATH="$SYSTEM_PATH" LANG=C.UTF-8 USER=root HOME="$rig/delta/home" SLURM_CONF="$rig/slurm.conf" "$@"; }

install_packages() {
  export DEBIAN_FRONTEND=noninteractive
  local policy=/usr/sbin/policy-rc.d own_policy=
  if [[ ! -e $policy ]]; then  # forbids the packages to start their daemons; a policy that is there already stays
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    own_policy=yes
  fi
  local rc=0
  { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${PACKAGES[@]}"; } >/dev/null || rc=$?
  if [[ $own_policy ]]; then rm -f "$policy"; fi
  return "$rc"
}

missing() {
  PATH=$PATH:$SYSTEM_PATH
  local name lacking=()
  for name in "${COMMANDS[@]}"; do
    if ! command -v "$name" >/dev/null; then lacking+=("$name"); fi
  done
  if [[ ! -e $LMOD ]]; then lacking+=(lmod); fi
  echo "${lacking[*]-}"
}

free_ports() {  # COUNT
  python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*(s.getsockname()[1] for s in sockets))
PYTHON
}

start_munge() {
  head -c 1024 /dev/urandom >"$rig/munge.key"
  chmod 600 "$rig/munge.key"
  # --force: munged dislikes to run as root in a folder closed to others
  clean munged --force --key-file="$rig/munge.key" --socket="$rig/munge.sock" --pid-file="$rig/pid/munged" \
    --log-file="$rig/log/munged" --seed-file="$rig/munge.seed" 2>>"$rig/log/munged.err" ||
    fail "munged does not start" "$rig/log/munged.err"
}

# A mariadbd that starts deletes the temporary tables of any other with the same TMPDIR, so each rig has its own.
start_mariadb() {
  clean TMPDIR="$rig/mariadb-tmp" mariadb-install-db --no-defaults --user=root --datadir="$rig/mariadb" \
    --skip-test-db --auth-root-authentication-method=socket --auth-root-socket-user=root \
    >"$rig/log/mariadb-install" 2>&1 || fail "mariadb-install-db failed" "$rig/log/mariadb-install"
  clean TMPDIR="$rig/mariadb-tmp" setsid mariadbd --no-defaults --user=root --datadir="$rig/mariadb" \
    --socket="$rig/mariadb.sock" --pid-file="$rig/pid/mariadbd" --skip-networking \
    --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900 >"$rig/log/mariadbd" 2>&1 </dev/null &
  echo $! >"$rig/pid/mariadbd"
  wait_for 20 "$rig/log/mariadbd" mariadbd mariadb --no-defaults --socket="$rig/mariadb.sock" -e 'SELECT 1'
}

# linuxproc ends what descends from the job's shell. Cgroups, as on Delta, end also what has broken away from it: here
# the epilog does.
write_epilog() {
  cat >"$rig/epilog" <<'SH'
#!/bin/bash
exec 2>/dev/null  # processes end while they are looked at
grep -lzxF "SLURM_CONF=${0%/*}/slurm.conf" /proc/[0-9]*/environ |
  xargs -r grep -lzxF "SLURM_JOB_ID=$SLURM_JOB_ID" | cut -d/ -f3 | grep -vx $$ | xargs -r kill -KILL
exit 0
SH
  chmod +x "$rig/epilog"
}

write_slurm_conf() {  # SLURMCTLD_PORT SLURMD_PORT SLURMDBD_PORT
  local node gpu
  node=$(hostname -s)
  cat >"$rig/slurm.conf" <<CONF
ClusterName=delta
SlurmctldHost=$node(127.0.0.1)
SlurmUser=root
SlurmctldPort=$1
SlurmdPort=$2
AuthType=auth/munge
# cred_expire is also the time a requeued job waits before it is eligible: 120 s by default
AuthInfo=socket=$rig/munge.sock,cred_expire=5
StateSaveLocation=$rig/slurmctld
SlurmdSpoolDir=$rig/slurmd
SlurmctldPidFile=$rig/pid/slurmctld
SlurmdPidFile=$rig/pid/slurmd
SlurmctldLogFile=$rig/log/slurmctld
SlurmdLogFile=$rig/log/slurmd
MailProg=/bin/true
Epilog=$rig/epilog
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=100000,bf_interval=2
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PreemptExemptTime=00:00:00
JobRequeue=0
KillWait=10
MinJobAge=300
ReturnToService=2
DefMemPerCPU=1000
GresTypes=gpu
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$3
AccountingStoragePass=$rig/munge.sock
AccountingStorageEnforce=associations,limits
AccountingStorageTRES=gres/gpu
NodeName=$node NodeAddr=127.0.0.1 Boards=1 SocketsPerBoard=1 CoresPerSocket=64 ThreadsPerCore=1 RealMemory=256000 \
Feature=projects,work Gres=gpu:4 State=UNKNOWN
CONF
  partitions "$node" >>"$rig/slurm.conf"
  for gpu in 0 1 2 3; do
    # Slurm only looks at the file; it sets CUDA_VISIBLE_DEVICES if it is a device, so each is another /dev/null.
    mknod "$rig/gpu$gpu" c 1 3 2>/dev/null || touch "$rig/gpu$gpu"
    echo "NodeName=$node Name=gpu File=$rig/gpu$gpu"
  done >"$rig/gres.conf"

  cat >"$rig/slurmdbd.conf" <<CONF
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$3
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$rig/munge.sock
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
LogFile=$rig/log/slurmdbd
PidFile=$rig/pid/slurmdbd
CONF
  chmod 600 "$rig/slurmdbd.conf"
}

partitions() {  # NODE
  local name long="MaxTime=48:00:00 DefaultTime=00:30:00" firm="PriorityTier=10 PreemptMode=OFF"
  local preempt="PriorityTier=1 PreemptMode=REQUEUE GraceTime=20"
  echo "PartitionName=cpu Nodes=$1 Default=YES $long $firm"
  for name in "${DELTA_PARTITIONS[@]}"; do echo "PartitionName=$name Nodes=$1 $long $firm"; done
  echo "PartitionName=gpuA100x4-interactive Nodes=$1 MaxTime=01:00:00 DefaultTime=00:30:00 $firm"
  echo "PartitionName=cpu-interactive Nodes=$1 MaxTime=00:30:00 DefaultTime=00:30:00 $firm"
  for name in gpuA100x4 gpuA40x4 cpu; do echo "PartitionName=$name-preempt Nodes=$1 $long $preempt"; done
}

start_slurm() {
  local account
  # slurmdbd has no setting for the database's socket; the client library takes it from the environment.
  clean MYSQL_UNIX_PORT="$rig/mariadb.sock" slurmdbd 2>>"$rig/log/slurmdbd.err" ||
    fail "slurmdbd does not start" "$rig/log/slurmdbd.err"
  wait_for 20 "$rig/log/slurmdbd" slurmdbd clean sacctmgr -n list cluster
  {
    clean sacctmgr -i add cluster delta
    for account in "${ACCOUNTS[@]}"; do clean sacctmgr -i add account "$account" Cluster=delta; done
    clean sacctmgr -i add user root Account="$(IFS=,; echo "${ACCOUNTS[*]}")" DefaultAccount="${ACCOUNTS[0]}"
  } >"$rig/log/sacctmgr" 2>&1 || fail "sacctmgr failed" "$rig/log/sacctmgr"
  clean slurmctld 2>>"$rig/log/slurmctld.err" || fail "slurmctld does not start" "$rig/log/slurmctld.err"
  clean slurmd 2>>"$rig/log/slurmd.err" || fail "slurmd does not start" "$rig/log/slurmd.err"
  wait_for 15 "$rig/log/slurmctld" slurmctld clean scontrol ping
  wait_for 15 "$rig/log/slurmd" "the node" node_is_idle
}

node_is_idle() {
  local state
  state=$(clean sinfo -h -p cpu -o '%t: %E')
  echo "$state"
  [[ $state == idle:* ]]
}

# What `module load pytorch-conda` brings on Delta: a Python of its own, whose packages every venv made from it with
# --system-site-packages sees. A copied interpreter takes its own folder for its prefix, a link would not.
write_module() {
  local answer real stdlib packages version own prefix=$rig/modules-python
  answer=$(env -u PYTHONPATH -u PYTHONHOME "${RIG_PYTHON:-python3}" -c '
import os, site, sys, sysconfig
print(os.path.realpath(sys._base_executable), sysconfig.get_path("stdlib"), "python%d.%d" % sys.version_info[:2],
      ";".join(f"site.addsitedir({folder!r})" for folder in site.getsitepackages()), sep="\n")') ||
    fail "${RIG_PYTHON:-python3} does not run"
  { read -r real; read -r stdlib; read -r version; read -r packages; } <<<"$answer"
  mkdir -p "$prefix/bin" "$prefix/lib/$version" "$rig/modules/pytorch-conda"
  cp -L "$real" "$prefix/bin/$version"
  ln -s "$version" "$prefix/bin/python3"
  ln -s "$version" "$prefix/bin/python"
  find "$stdlib" -mindepth 1 -maxdepth 1 ! -name '*-packages' -exec ln -s -t "$prefix/lib/$version" {} +
  find "${stdlib%/*}" -mindepth 1 -maxdepth 1 -name 'libpython*' -exec ln -s -t "$prefix/lib" {} +
  own=$(clean "$prefix/bin/python" -c 'import site; print(site.getsitepackages()[0])') ||
    fail "a copy of $real does not work"
  mkdir -p "$own"
  echo "import site; $packages" >"$own/rig.pth"

  cat >"$rig/modules/pytorch-conda/2.12.lua" <<LUA
whatis("the Python of the tests, in place of Delta's")
prepend_path("PATH", "$prefix/bin")
setenv("PYTHONNOUSERSITE", "1")
LUA
  echo 'whatis("what module reset loads: nothing")' >"$rig/modules/default.lua"
}

start_sshd() {  # NAME PORT ENVIRONMENT...
  local name=$1 port=$2 setting environment=
  shift 2
  for setting in "HOME=$rig/$name/home" "PATH=$SYSTEM_PATH" LANG=C.UTF-8 "$@"; do environment+=" \"$setting\""; done
  ssh-keygen -q -t ed25519 -N '' -C "$name" -f "$rig/$name/host_key"
  # ForceCommand: sshd enters the home of the password file; a login lands in its own home, where rsync counts from.
  cat >"$rig/$name/sshd_config" <<CONF
ListenAddress 127.0.0.1
Port $port
HostKey $rig/$name/host_key
PidFile $rig/pid/sshd-$name
AuthorizedKeysFile $rig/client_key.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
MaxSessions 30
MaxStartups 100
SetEnv$environment
Subsystem sftp /usr/lib/openssh/sftp-server
ForceCommand cd && eval "\${SSH_ORIGINAL_COMMAND:-exec bash -l}"
CONF
  clean "$(PATH=$SYSTEM_PATH command -v sshd)" -f "$rig/$name/sshd_config" -E "$rig/log/sshd-$name" ||
    fail "sshd $name does not start" "$rig/log/sshd-$name"
  echo "[127.0.0.1]:$port $(cut -d' ' -f1,2 "$rig/$name/host_key.pub")" >>"$rig/known_hosts"
  cat >>"$rig/ssh_config" <<CONF
Host $name
  HostName 127.0.0.1
  Port $port
  User root
  IdentityFile $rig/client_key
  IdentitiesOnly yes
  UserKnownHostsFile $rig/known_hosts
  StrictHostKeyChecking yes
  ControlMaster auto
  ControlPath $rig/cm-%C
  ControlPersist 8h
  ConnectTimeout 10
CONF
  wait_for 10 "$rig/log/sshd-$name" "sshd $name" ssh -F "$rig/ssh_config" -S none -o BatchMode=yes "$name" true
}

start() {
  local ports
  if [[ $(id -u) != 0 ]]; then fail "must run as root"; fi
  if [[ $(missing) ]]; then fail "missing: $(missing)"; fi
  mkdir -p "$1"
  rig=$(realpath "$1")
  if [[ $(ls -A "$rig") ]]; then fail "$rig is not empty"; fi
  if ((${#rig} > 60)); then fail "$rig is too long a name: ssh puts a socket with a 43-letter name into it"; fi
  up=
  trap 'if [[ ! $up ]]; then stop "$rig"; fi' EXIT
  umask 022
  mkdir -p "$rig"/{pid,log,slurmctld,slurmd,mariadb,mariadb-tmp,delta/home,campus/home} /run/sshd
  read -ra ports < <(free_ports 5)

  write_module
  write_slurm_conf "${ports[@]:0:3}"
  write_epilog
  start_munge
  start_mariadb
  start_slurm
  ssh-keygen -q -t ed25519 -N '' -C rig -f "$rig/client_key"
  # One thread a job: several trainings with more threads than there are cores slow each other down tenfold.
  start_sshd delta "${ports[3]}" "SLURM_CONF=$rig/slurm.conf" "LMOD_SITE_MODULEPATH=$rig/modules" \
    LMOD_SYSTEM_DEFAULT_MODULES=default OMP_NUM_THREADS=1
  start_sshd campus "${ports[4]}"
  printf 'export %s\n' "SLURM_CONF=$rig/slurm.conf" "SSH_CONFIG=$rig/ssh_config" >"$rig/env"
  up=yes
}

family() {  # PID: it and all its descendants
  local child
  echo "$1"
  for child in $(pgrep -P "$1"); do family "$child"; done
}

job_processes() {  # of this rig's jobs: slurmstepd by its log, what it started by its environment
  local pid
  for pid in $(pgrep -x slurmstepd); do
    if find "/proc/$pid/fd" -lname "$rig/*" 2>/dev/null | grep -q .; then echo "$pid"; fi
  done
  { grep -lzxF "SLURM_CONF=$rig/slurm.conf" /proc/[0-9]*/environ | xargs -r grep -lz ^SLURM_JOB_ID= | cut -d/ -f3; } \
    2>/dev/null || true
}

alive() {  # PID: zombies are dead, however late they are reaped
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null && [[ ${stat##*) } != Z* ]]
}

end_processes() {  # PID...: TERM, and KILL to what is left after three seconds
  local pid end=$((SECONDS + 3))
  for pid; do kill -TERM "$pid" 2>/dev/null || true; done
  for pid; do
    while alive "$pid"; do
      if ((SECONDS >= end)); then kill -KILL "$pid" 2>/dev/null || true; break; fi
      sleep 0.05
    done
  done
}

stop() {
  if [[ ! -d $1 ]]; then return; fi
  rig=$(realpath "$1")
  local name
  for name in delta campus; do
    ssh -F "$rig/ssh_config" -O exit "$name" >/dev/null 2>&1 || true
  done
  # Daemons first, the scheduler before its node: nothing may start another job while jobs are ended.
  for name in sshd-delta sshd-campus slurmctld slurmd; do end_daemon "$name"; done
  # shellcheck disable=SC2046
  end_processes $(job_processes)
  for name in slurmdbd mariadbd munged; do end_daemon "$name"; done
}

end_daemon() {  # NAME: and all that descends from it
  local pid
  pid=$(cat "$rig/pid/$1" 2>/dev/null) || return 0
  rm -f "$rig/pid/$1"
  # shellcheck disable=SC2046
  if [[ $(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null) == *"${1%-*}"* ]]; then end_processes $(family "$pid"); fi
}

case "${1-} $#" in
  "install 1") install_packages ;;
  "missing 1") missing ;;
  "start 2") start "$2" ;;
  "stop 2") stop "$2" ;;
  *) sed -n '2,3s/^# //p' "$0" >&2; exit 2 ;;
esac
