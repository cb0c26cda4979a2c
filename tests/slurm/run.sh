#!/usr/bin/env bash
# A search as an array of four tasks on a real Slurm of one node, merged and compared byte for byte
# with the same search by one process.
#
#   run.sh PROGRAM MODEL
#
# Everything Slurm is in a temporary folder and in namespaces of its own, where there is no network
# but the loopback device; all daemons end with the script. Exit code 77: there is no Slurm here,
# with the reason on standard output. DRLLM_TEST_SLURM=install has apt-get install it.
set -euo pipefail

program=$(realpath "$1")
model=$2
here=$(cd "$(dirname "$0")" && pwd)
repository=$(cd "$here/../.." && pwd)

skip() {
  echo "$1"
  exit 77
}

find_slurm() {
  PATH=$PATH:/usr/sbin:/sbin
  if [ "${DRLLM_TEST_SLURM:-}" = install ]; then
    apt-get update -q >&2
    # Nothing is started by the packages: their daemons are not ours.
    RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends slurm-wlm munge iproute2 >&2
  fi
  local tool
  for tool in munged slurmctld slurmd sbatch unshare ip; do
    command -v "$tool" > /dev/null || skip "$tool is not installed"
  done
  [ "$(id -u)" = 0 ] || skip "Slurm's daemons need root"
  unshare --net --pid --fork --mount-proc true 2> /dev/null || skip "no namespaces can be made here"
}

# Inside the namespaces this script is the first process: when it ends, all others do.
if [ "${DRLLM_SLURM_INSIDE:-}" = "" ]; then
  find_slurm
  place=$(mktemp -d)
  trap 'rm -rf "$place"' EXIT
  export PATH DRLLM_SLURM_INSIDE=$place
  unshare --net --pid --fork --kill-child --mount-proc "$0" "$program" "$model"
  exit
fi

# The first process of a namespace ignores signals it has no trap for.
trap 'exit 143' TERM INT HUP
place=$DRLLM_SLURM_INSIDE
slurm=$place/slurm

fail() {
  echo "$1" >&2
  tail -n 40 "$slurm"/*.log "$place"/search-*.log >&2 2> /dev/null || true
  exit 1
}

# Waits half a minute for a command to succeed.
wait_for() {
  local what=$1 until=$((SECONDS + 30))
  shift
  while [ "$SECONDS" -lt "$until" ]; do
    if timeout --foreground 10 "$@" > /dev/null 2>&1; then return; fi
    sleep 0.1
  done
  fail "$what did not come up"
}

configure() {
  local host
  host=$(hostname -s)
  mkdir -p "$slurm"/{state,spool}
  # munged refuses keys, logs and sockets that others could write to.
  chmod 755 "$place" "$slurm"
  (umask 077 && dd if=/dev/urandom of="$slurm/munge.key" bs=128 count=1 2> /dev/null)
  cat > "$slurm/slurm.conf" << CONF
ClusterName=drllm
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$slurm/munge.socket
CredType=cred/munge
StateSaveLocation=$slurm/state
SlurmdSpoolDir=$slurm/spool
SlurmctldPidFile=$slurm/slurmctld.pid
SlurmdPidFile=$slurm/slurmd.pid
SlurmctldLogFile=$slurm/slurmctld.log
SlurmdLogFile=$slurm/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MinJobAge=300
ReturnToService=2
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  echo 'CgroupAutomount=no' > "$slurm/cgroup.conf"
  export SLURM_CONF=$slurm/slurm.conf
}

start() {
  ip link set lo up
  # Where there is no other address than 127.0.0.1, getaddrinfo finds none at all (AI_ADDRCONFIG).
  ip address add 192.0.2.1/32 dev lo
  munged --foreground --force --key-file="$slurm/munge.key" --socket="$slurm/munge.socket" \
    --pid-file="$slurm/munged.pid" --log-file="$slurm/munged.log" --seed-file="$slurm/munged.seed" \
    > "$slurm/munged.out.log" 2>&1 &
  wait_for munged test -S "$slurm/munge.socket"
  slurmctld -D > "$slurm/slurmctld.out.log" 2>&1 &
  wait_for slurmctld scontrol ping
  slurmd -D > "$slurm/slurmd.out.log" 2>&1 &
  wait_for "the node" bash -c 'sinfo --noheader --format=%T | grep -qx idle'
}

array() {
  timeout --foreground 300 sbatch --wait --array=0-3 --cpus-per-task=1 --mem=0 --time=30 \
    "$repository/examples/slurm/search.sbatch" "${settings[@]}" || fail "the array failed"
}

search() {
  # Not the caller's own array, should the tests run in one.
  env -u SLURM_ARRAY_TASK_ID -u JOB_COMPLETION_INDEX "$program" "$@"
}

configure
start
cd "$place"
mkdir bin
ln -s "$program" bin/drllm-tui
export PATH=$place/bin:$PATH
cp "$repository/tests/data/questions.jsonl" .
settings=(--model "$model" --device cpu --simulations 6)

array
[ "$(cat search-*_2.log | grep -c '^shard 2/4: task 2 of the Slurm array 0-3')" = 1 ] || fail "task 2 took another shard"

# A shard that was killed in the middle of a line goes on when the job is submitted again.
truncate -s -100 records-1-of-4.jsonl
search search merge --out torn.jsonl records-*-of-4.jsonl 2> refused.log && fail "an unfinished shard was merged"
grep -q 'records-1-of-4.jsonl lacks 1 of 3 records' refused.log || fail "$(cat refused.log)"
array

search search merge --out merged.jsonl records-*-of-4.jsonl
search search --data questions.jsonl --out whole.jsonl --threads 2 "${settings[@]}"
cmp merged.jsonl whole.jsonl || fail "merged records differ from those of one process"
echo "$(wc -l < merged.jsonl) lines, the same from four Slurm tasks and from one process"
