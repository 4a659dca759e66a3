#!/usr/bin/env bash
# Makes .venv with everything pinned, once; does nothing when it is there and up to date.
# Needs Python 3.11 to 3.13 only. Uses uv when it is on PATH, pip otherwise.
#   PYTHON=/path/to/python3.12 tools/setup.sh    picks the interpreter
set -euo pipefail
cd "$(dirname "$0")/.."
unset VIRTUAL_ENV PYTHONPATH PYTHONHOME || true

venv=.venv
stamp=$venv/.ganpipe-setup
fits='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'

python=${PYTHON:-}
if [ -z "$python" ]; then
    for name in python3 python3.13 python3.12 python3.11 python; do
        if command -v "$name" >/dev/null 2>&1 && "$name" -c "$fits" 2>/dev/null; then
            python=$name
            break
        fi
    done
fi
if [ -z "$python" ] || ! "$python" -c "$fits" 2>/dev/null; then
    echo "setup: error: found no Python 3.11, 3.12 or 3.13 (python3 is $(python3 -V 2>&1 || true))." >&2
    echo "       Install one, or name it: PYTHON=/path/to/python3.12 make ..." >&2
    exit 2
fi

wanted=$(cat pyproject.toml requirements.txt requirements-dev.txt tools/setup.sh | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    echo "setup: $venv is up to date ($("$venv/bin/python" -V))"
    exit 0
fi

start=$SECONDS
if ! "$venv/bin/python" -c "$fits" 2>/dev/null; then
    rm -rf "$venv"
    if command -v uv >/dev/null 2>&1; then
        echo "setup: making $venv with $(uv --version | cut -d' ' -f1,2) and $("$python" -V)"
        uv venv --quiet --python "$(command -v "$python")" "$venv"
    else
        echo "setup: making $venv with venv and $("$python" -V)"
        if ! "$python" -m venv "$venv"; then
            rm -rf "$venv"
            echo "setup: error: '$python -m venv' failed. On Debian and Ubuntu the package" >&2
            echo "       python3-venv is missing; or put uv on PATH and try again." >&2
            exit 2
        fi
    fi
fi
rm -f "$stamp"
if command -v uv >/dev/null 2>&1; then
    echo "setup: installing requirements-dev.txt with uv (about 2.6 GB on disk)"
    uv pip install --quiet --python "$venv/bin/python" -r requirements-dev.txt
    uv pip install --quiet --python "$venv/bin/python" --no-deps -e .
else
    echo "setup: installing requirements-dev.txt with pip (about 2.6 GB on disk; minutes)"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps -e .
fi
echo "$wanted" >"$stamp"
echo "setup: made $venv ($("$venv/bin/python" -V)) in $((SECONDS - start)) s"
