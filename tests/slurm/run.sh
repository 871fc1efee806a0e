#!/usr/bin/env bash
# `make test-slurm`: brings up Debian's Slurm on this machine as its one node, runs the scale smoke on it inside the images
# through Snakemake's own executor, lets a job run into its time limit and go on, and takes everything down again.
# Needs root, slurm-wlm and munge (installed here where apt-get can), and refuses where a Slurm is running already.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() {
    echo "test-slurm: error: $*" >&2
    exit 1
}
say() { echo "test-slurm: $*" >&2; }

[[ $EUID -eq 0 ]] || fail "only root can start Slurm's daemons"
if ! command -v slurmctld slurmd munged >/dev/null; then
    apt-get update -q >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install --yes -q --no-install-recommends slurm-wlm munge >/dev/null ||
        fail "slurm-wlm and munge are not to be had"
fi
pgrep -x slurmctld >/dev/null && fail "a Slurm is running on this machine"

results=results/test-slurm
rm -rf "$results"
work=$(mktemp -d)
kept=
if [[ -e /etc/slurm/slurm.conf ]]; then
    kept=$work/slurm.conf
    cp /etc/slurm/slurm.conf "$kept"
fi
take_down() {
    status=$?
    scancel --user root 2>/dev/null || true
    pkill -x slurmd || true
    pkill -x slurmctld || true
    pkill -x munged || true
    while pgrep -x slurmd || pgrep -x slurmctld; do sleep 0.2; done >/dev/null
    rm -f /etc/slurm/slurm.conf
    [[ -z $kept ]] || cp "$kept" /etc/slurm/slurm.conf
    ((status == 0)) || tail -n 20 "$work"/*.log >&2 || true
    rm -rf "$work"
}
trap take_down EXIT

# --- up --------------------------------------------------------------------------------------------------------------

host=$(hostname -s)
mkdir -p /etc/slurm /run/munge /var/lib/munge "$work/state" "$work/spool"
# The place of the configuration is fixed: SLURM_CONF does not reach the steps of a job.
cat >/etc/slurm/slurm.conf <<CONF
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ReturnToService=2
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
AccountingStorageType=accounting_storage/none
MinJobAge=600
KillWait=5
OverTimeLimit=0
StateSaveLocation=$work/state
SlurmdSpoolDir=$work/spool
SlurmctldPidFile=$work/slurmctld.pid
SlurmdPidFile=$work/slurmd.pid
SlurmctldLogFile=$work/slurmctld.log
SlurmdLogFile=$work/slurmd.log
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc --all) RealMemory=$(awk '/MemTotal/ { print int($2 / 1024 * 0.8) }' /proc/meminfo)
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE
CONF
[[ -e /etc/munge/munge.key ]] || { dd if=/dev/urandom bs=1 count=1024 of=/etc/munge/munge.key 2>/dev/null; chmod 400 /etc/munge/munge.key; }
chown -R munge: /etc/munge /run/munge /var/lib/munge
pgrep -x munged >/dev/null || su munge -s /bin/sh -c "munged --force --log-file=/run/munge/munged.log"
slurmctld
slurmd
for _ in {1..30}; do
    sinfo --noheader --format %T 2>/dev/null | grep -q idle && break
    sleep 1
done
sinfo --noheader --format %T | grep -q idle || fail "the node did not come up"
say "Slurm $(sinfo --version | cut -d' ' -f2) is up on $host"

# No accounting here, so Snakemake asks squeue how jobs are.
snakemake=(python -m snakemake --workflow-profile profiles/slurm --slurm-no-account --slurm-status-command squeue
    --slurm-init-seconds-before-status-checks 5 --latency-wait 20 --quiet rules)
settings=(--config scale=smoke "results=$results" containers=on)

# --- a job that is killed by its time limit goes on --------------------------------------------------------------------

# The shortest limit that Slurm knows is a minute. Long enough for some checkpoints, too short for all updates.
say "a training job that needs more than its minute ..."
stack=$results/smoke/runs/good/behaviour_cloning/seeds-0-1
long=('training={log_every: 1000, evaluation: {every: 20000}}' 'jobs={checkpoint_every: 1000}' 'experiments={good: {updates: UPDATES}}')
updates=${TEST_SLURM_UPDATES:-90000}
began=$SECONDS
"${snakemake[@]}" --jobs 2 --set-resources train:runtime=1 --default-resources slurm_partition=main mem_mb=1000 runtime=5 \
    "${settings[@]}" "${long[@]/UPDATES/$updates}" -- "$stack/run.json" >"$work/limited.log" 2>&1 || {
    tail -n 40 "$work/limited.log" >&2
    fail "it did not end well"
}
grep -qiE "TIMEOUT|cancelled|DUE TO TIME LIMIT|Trying to restart|restart" "$work/limited.log" ||
    fail "it ended within its minute: raise TEST_SLURM_UPDATES (now $updates)"
say "done after $((SECONDS - began)) s, started $(grep -c "restart" "$work/limited.log") times anew"

# --- the whole scale ----------------------------------------------------------------------------------------------------

say "the scale smoke ..."
rm -rf "$results"
began=$SECONDS
"${snakemake[@]}" --jobs "$(nproc --all)" --default-resources slurm_partition=main mem_mb=1000 runtime=10 \
    "${settings[@]}" >"$work/smoke.log" 2>&1 || {
    tail -n 60 "$work/smoke.log" >&2
    fail "smoke did not end well"
}
grep -q '"image": "analysis@sha256:' "$results/smoke/verdict.json" || fail "the verdict does not say that it comes out of an image"
grep -q '"image": "train@sha256:' "$results"/smoke/runs/good/behaviour_cloning/*/run.json || fail "training ran outside of its image"
say "done in $((SECONDS - began)) s, every job by Slurm and inside its image"
