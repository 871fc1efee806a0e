#!/usr/bin/env bash
# Makes .venv from the locks beside this file, once; says nothing and changes nothing when it is there already.
#
#   set_up.sh [cpu|cuda]     the torch build; without it: the one that .venv has, else cpu
#
# The environment may set PYTHON (the interpreter to make .venv with) and TORCH_INDEX (where to look for torch's CPU
# build, when pip's find-links do not have it). Everything else about where packages come from is pip's configuration.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
root=$(cd "$here/../.." && pwd -P)
venv=$root/.venv
stamp=$venv/.set-up
log=$venv/set-up.log
torch_index=${TORCH_INDEX:-https://download.pytorch.org/whl/cpu}
version=3.11

say() { echo "set-up: $*" >&2; }

# fail WHAT LINE...: one error, and what to do about it
fail() {
    echo "set-up: error: $1" >&2
    shift
    printf '%s\n' "$@" | sed 's/^./  &/' >&2
    exit 2
}

# --- is there anything to do? ---------------------------------------------------------------------------------------

# One set-up at a time: a second one waits, and then finds the first one's .venv.
exec {lock}<"$here/set_up.sh"
if ! flock --nonblock "$lock"; then
    say "waiting for another set-up of $venv ..."
    flock "$lock"
fi

installed=$(sed -n 's/^torch //p' "$stamp" 2>/dev/null || true)
torch=${1:-${installed:-cpu}}
case $torch in
cpu) size="about 2 GB" ;;
cuda) size="about 8 GB" ;;
*) fail "TORCH=$torch: there is no lock for such a build of torch" "use TORCH=cpu (the default) or TORCH=cuda" ;;
esac

# What .venv has to be: made here (its scripts name their folder), by this script, from these locks, with this torch.
wanted=$(
    echo "torch $torch"
    echo "folder $venv"
    cd "$here"
    sha256sum build.txt base.txt "torch-$torch.txt" set_up.sh
)
if [[ -x $venv/bin/python && -f $stamp && $(<"$stamp") == "$wanted" ]]; then
    exit 0
fi

# --- the machine ----------------------------------------------------------------------------------------------------

began=$SECONDS
PATH=:$PATH: # without .venv's own python, which an activated .venv puts first
PATH=${PATH//:"$venv/bin":/:}
PATH=${PATH#:}
PATH=${PATH%:}
python=${PYTHON:-}
if [[ -z $python ]]; then
    python=python3
    if ! python3 -I -c "import sys; sys.exit(sys.version_info[:2] != (3, 11))" 2>/dev/null &&
        command -v "python$version" >/dev/null; then
        python=python$version
    fi
fi
if ! command -v "$python" >/dev/null; then
    fail "there is no '$python' on PATH" \
        "install Python $version with its venv module (Debian 12: apt-get install python3 python3-venv)," \
        "or name one: make setup PYTHON=/path/to/python$version"
fi
found=$("$python" -I -c 'import platform as p, sys
print("%d.%d" % sys.version_info[:2], p.system(), p.machine(), p.libc_ver()[0])') ||
    fail "'$python' does not run" "name a Python $version: make setup PYTHON=/path/to/python$version"
if [[ $found != "$version Linux x86_64 glibc" ]]; then
    fail "'$python' is Python $found; the locks in workflow/environment are for Python $version Linux x86_64 glibc" \
        "on such a machine, name its Python $version: make setup PYTHON=/path/to/python$version"
fi
if ! "$python" -I -c "import ensurepip, venv" 2>/dev/null; then
    fail "'$python' has no venv module with pip in it" \
        "install it (Debian and Ubuntu: apt-get install python3-venv), then run the same command again"
fi

# --- a new .venv ----------------------------------------------------------------------------------------------------

if [[ -e $venv || -L $venv ]]; then
    if [[ ! -f $stamp ]]; then
        why="is not a finished set-up (interrupted?)"
    elif [[ $(sed -n 's/^folder //p' "$stamp") != "$venv" ]]; then
        why="was made in another folder"
    elif [[ $torch != "$installed" ]]; then
        why="has torch's $installed build"
    else
        why="is not what the locks say"
    fi
    if [[ -d $venv && ! -f $venv/pyvenv.cfg && ! -f $log && -n $(ls -A "$venv") ]]; then
        fail "$venv is there and is not a virtual environment" "move it away, then run the same command again"
    fi
    say ".venv $why: making it anew"
    rm -rf "$venv"
fi

# A stranger's settings that would make pip look at, or write to, other folders than .venv.
unset PYTHONPATH PYTHONHOME PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER PIP_CONSTRAINT PIP_REQUIREMENT PIP_REQUIRE_HASHES \
    PIP_NO_BINARY PIP_ONLY_BINARY PIP_DRY_RUN PIP_IGNORE_INSTALLED PIP_FORCE_REINSTALL PIP_PYTHON PIP_QUIET PIP_VERBOSE
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0

say "creating .venv with $("$python" -I --version) ($(command -v "$python"))"
mkdir "$venv"
: >"$log"
if ! message=$("$python" -I -m venv "$venv" 2>&1); then
    fail "$python could not make $venv" "${message##*$'\n'}" \
        "needed: the venv module (Debian and Ubuntu: apt-get install python3-venv) and a folder that can be written to"
fi

pip() {
    echo "+ pip $*" >>"$log"
    "$venv/bin/python" -I -m pip "$@" >>"$log" 2>&1 </dev/null
}

install() {
    pip install --no-deps --require-hashes --progress-bar off "$@"
}

packages() { grep -c '^[a-z0-9].*==' "$1"; }

fail_install() {
    fail "pip could not install $1" "the end of what it said (all of it: $log):" "" "$(tail -n 12 "$log")" "" \
        "needed: a package index that answers ('.venv/bin/pip config list' says what pip is set to) and $size of" \
        "disk ($(df -h --output=avail "$venv" | tail -n 1 | tr -d ' ') is free); then run the same command again" \
        "${@:2}"
}

# --- torch ------------------------------------------------------------------------------------------------------------

# Comes first: what is most likely not to be had is to fail before the rest was fetched.
install_torch_cpu() {
    local lock=$here/torch-cpu.txt

    # 1. The same wheel may be in a folder that pip is configured with; where there is none this costs nothing.
    if install --no-index --retries 0 --timeout 10 -r "$lock"; then
        return
    elif ! grep -qE "No matching distribution|DO NOT MATCH THE HASHES" "$log"; then
        fail_install "torch's CPU build from pip's find-links" # found, but for example the disk is full
    fi

    # 2. PyTorch's own index. Asked first with a short patience: one that does not answer must not cost minutes.
    # Without pip's find-links, which were no help (an empty folder, as pip takes an empty setting for none).
    say "torch's CPU build is not in pip's find-links: asking $torch_index ..."
    mkdir -p "$venv/no-links"
    local -x PIP_FIND_LINKS=$venv/no-links
    if timeout 30 "$venv/bin/python" -I -m pip index versions torch --retries 0 --timeout 10 \
        --index-url "$torch_index" >>"$log" 2>&1 </dev/null; then
        say "downloading it (about 190 MB) ..."
        if install --timeout 60 --index-url "$torch_index" -r "$lock"; then
            return
        fi
        fail_install "torch's CPU build from $torch_index" "or do one of these:" "${torch_advice[@]}"
    fi
    fail "torch's CPU build is not to be had" \
        "$torch_index does not answer or does not have it, and pip's find-links do not have the wheel that" \
        "workflow/environment/torch-cpu.txt names (all that pip said: $log)." "Do one of these:" "${torch_advice[@]}"
}

torch_advice=(
    "- with the wheel in a folder (sha256: workflow/environment/torch-cpu.txt): PIP_FIND_LINKS=/that/folder make setup"
    "- with a mirror of PyTorch's CPU index: TORCH_INDEX=https://mirror/whl/cpu make setup"
    "- the CUDA build from the package registry instead (some GB; runs without a GPU too): make setup TORCH=cuda"
)

say "installing torch ($torch) ..."
if [[ $torch == cpu ]]; then
    install_torch_cpu
else
    install --only-binary :all: -r "$here/torch-cuda.txt" || fail_install "torch-cuda.txt"
fi

# --- all the rest -----------------------------------------------------------------------------------------------------

say "installing $(packages "$here/base.txt") packages (build.txt, base.txt) ..."
install --only-binary :all: -r "$here/build.txt" || fail_install "build.txt"
# connection-pool exists as source only; the setuptools just installed builds it, so that no build fetches anything.
install --only-binary :all: --no-binary connection-pool --no-build-isolation --use-pep517 -r "$here/base.txt" ||
    fail_install "base.txt"

if ! conflicts=$("$venv/bin/python" -I -m pip check 2>&1); then
    fail "the locks do not fit together" "$conflicts" "make them anew: make lock"
fi

echo "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"
say "done in $((SECONDS - began)) s"
