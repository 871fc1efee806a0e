#!/usr/bin/env bash
# Makes .venv-docs from docs.txt, once, for `make docs`; changes nothing when it is there already.
# The environment may set PYTHON. Where packages come from is pip's own configuration.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
venv=$(cd "$here/../.." && pwd -P)/.venv-docs
wanted="$venv $(cat "$here/docs.txt" "$here/set_up_docs.sh" | sha256sum)"

# One set-up at a time: a second one waits, and then finds the first one's environment.
exec {lock}<"$here/set_up_docs.sh"
flock "$lock"
if [[ -f $venv/.set-up && $(<"$venv/.set-up") == "$wanted" ]]; then
    exit 0
fi

python=${PYTHON:-python3}
echo "set-up: making .venv-docs ..." >&2
rm -rf "$venv"
if ! "$python" -I -m venv "$venv" ||
    ! "$venv/bin/python" -I -m pip install --quiet --disable-pip-version-check --no-input \
        --require-hashes --no-deps --only-binary :all: -r "$here/docs.txt"; then
    echo "set-up: error: .venv-docs could not be made with '$python'" >&2
    echo "  needed: Python 3.11 with its venv module (or name one: make docs PYTHON=/path/to/python3.11) and a package" >&2
    echo "  index that answers; then run the same command again" >&2
    exit 2
fi
echo "$wanted" >"$venv/.set-up"
