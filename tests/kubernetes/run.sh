#!/usr/bin/env bash
# `make test-kubernetes`: the profile kubernetes against a stand-in of the API (api.py), whose pods are podman containers of the
# image `kubernetes` with nothing but an empty folder, the volume and no network. A training pod that is killed goes on from its
# checkpoint, then the scale smoke runs. A real cluster was not to be had.
# Needs podman and rsync (Debian: podman runc rsync) and the image, which it builds (as `make images` does).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

fail() {
    echo "test-kubernetes: error: $*" >&2
    exit 1
}
say() { echo "test-kubernetes: $*" >&2; }

for program in podman rsync; do
    command -v $program >/dev/null || fail "there is no $program (Debian: apt-get install podman runc rsync)"
done
work=$(mktemp -d)
results=results/test-kubernetes
take_down() {
    status=$?
    [[ -z ${api:-} ]] || kill "$api" 2>/dev/null || true
    if ((status)); then
        # Snakemake in a pod ends with this line after a step that failed.
        grep -l "^At least one job did not complete" "$work"/pods/*.log 2>/dev/null | xargs -r tail -n 30 >&2 || true
    fi
    rm -rf "$work" snakemake-workflow-sources.*.tar.xz
}
trap take_down EXIT
rm -rf "$results"

# What podman may ask of a small virtual machine (docs/containers.md).
cat >"$work/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
CONF
export CONTAINERS_CONF=$work/containers.conf

archive=$(python -c 'from pjap_bench import containers; print(containers.oci_file_of("kubernetes"))')
[[ -f $archive ]] || python containers/build.py kubernetes --oci
image=$(podman load --quiet --input "$archive" | sed -n 's/^Loaded image\(s\|\): *//p')
say "pods are containers of $image"

python tests/kubernetes/api.py "$work/config" "$work/pods" &
api=$!
while [[ ! -s $work/config ]]; do sleep 0.2; done
export KUBECONFIG=$work/config

# The clone is on a volume that all pods mount at the folder that it has here.
snakemake=(python -m snakemake --workflow-profile profiles/kubernetes --container-image "$image" --latency-wait 5 --quiet rules
    --jobs "$(nproc --all)" --default-storage-prefix "$PWD" --kubernetes-persistent-volumes "project:$PWD")
settings=(--config scale=smoke "results=$results" containers=off)

# --- a pod that is killed goes on from its checkpoint ---------------------------------------------------------------------

say "a training pod that is killed ..."
stack=$results/smoke/runs/good/behaviour_cloning/seeds-0-1
"${snakemake[@]}" "${settings[@]}" 'training={log_every: 1000, evaluation: {every: 20000}}' 'jobs={checkpoint_every: 1000}' \
    'experiments={good: {updates: 40000}}' -- "$stack/run.json" >"$work/killed.log" 2>&1 &
main=$!
until compgen -G "$results/smoke/checkpoints/good/*/*/*.safetensors" >/dev/null; do
    kill -0 $main 2>/dev/null || { tail -n 40 "$work/killed.log" >&2; fail "it ended before its first checkpoint"; }
    sleep 1
done
podman kill "$(podman ps --quiet --filter name=snakejob- | head -n 1)" >/dev/null
wait $main || { tail -n 40 "$work/killed.log" >&2; fail "it did not go on"; }
grep -q "resumed at update" "$results"/smoke/logs/train/good/behaviour_cloning/*.log || fail "it began anew"
say "$(grep -h "resumed at update" "$results"/smoke/logs/train/good/behaviour_cloning/*.log)"

# --- the whole scale --------------------------------------------------------------------------------------------------------

say "the scale smoke ..."
rm -rf "$results"
began=$SECONDS
"${snakemake[@]}" "${settings[@]}" >"$work/smoke.log" 2>&1 || {
    tail -n 60 "$work/smoke.log" >&2
    fail "smoke did not end well"
}
for file in verdict.json runs/good/behaviour_cloning/seeds-0-1/run.json; do
    grep -q '"image": "kubernetes@sha256:' "$results/smoke/$file" || fail "$file does not say that it comes out of the image"
done
"${snakemake[@]}" "${settings[@]}" 2>&1 | grep -q "Nothing to be done" || fail "a second run does not see that all is done"
say "done in $((SECONDS - began)) s, every job in a pod of its own"
