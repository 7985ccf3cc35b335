#!/usr/bin/env bash
# Makes the virtual environment with Ray in $VENV, from the pins of python/pyproject.toml, and writes its licences to $LICENSES.
set -euo pipefail
venv=${VENV:-/opt/venv}
licenses=${LICENSES:-/licenses}
constraints=${CONSTRAINTS:-docker/constraints.txt}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pip=(-m pip --quiet --disable-pip-version-check --no-input)

python3 -m venv "$venv"
# The file stays: by it `whisper-streaming ray start` knows that the environment has what it needs. tomllib came with Python 3.11; before,
# pip has one of its own.
"$venv/bin/python" - python/pyproject.toml > "$venv/requirements.txt" << 'PYTHON'
import sys
try:
    import tomllib
except ImportError:
    from pip._vendor import tomli as tomllib
with open(sys.argv[1], "rb") as file:
    print(*tomllib.load(file)["project"]["dependencies"], sep="\n")
PYTHON
# What the pins bring with them is pinned, too: the same image next year. docs/container.md says how the file is renewed.
"$venv/bin/python" "${pip[@]}" install --requirement "$venv/requirements.txt" --constraint "$constraints"

# Beside the environment, so that it does not list itself.
"$venv/bin/python" "${pip[@]}" install --target "$work/tools" pip-licenses==5.5.5
mkdir -p "$licenses"
"$venv/bin/python" "$work/tools/piplicenses.py" --python="$venv/bin/python" --format=plain-vertical --with-system --with-urls \
  --with-license-file --with-notice-file --no-license-path --output-file="$licenses/python-packages.txt" > "$work/log" || {
  tail -n 5 "$work/log" >&2
  exit 1
}
