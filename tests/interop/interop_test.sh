#!/bin/sh
# SPDX-License-Identifier: MIT
# interop_test.sh <silica> <safetensors_interop> <folder of a virtual environment>: runs interop_test.py; the first time
# it makes the environment and installs the Python package `safetensors` with pip, as pip is configured.
set -u
silica=$1 interop=$2 environment=$3
here=$(cd "$(dirname "$0")" && pwd)
python=$environment/bin/python
if ! cmp -s "$here/requirements.txt" "$environment/requirements.txt"; then
  python3 -m venv "$environment" ||
    { echo "interop_test: python3 cannot make a virtual environment (Debian and Ubuntu: python3-venv)" >&2; exit 1; }
  "$python" -m pip install --quiet --requirement "$here/requirements.txt" || {
    echo "interop_test: pip could not install $(tr '\n' ' ' <"$here/requirements.txt")(is there no network?)" >&2
    exit 1
  }
  cp "$here/requirements.txt" "$environment/requirements.txt"
fi
exec "$python" "$here/interop_test.py" "$silica" "$interop"
