#!/usr/bin/env bash
# Build .venv-triton: the project's environment with Triton beside it, so that the kernels of helpers/sae/kernels.py run
# in Triton's interpreter on a machine without a graphics card. Does nothing if it is there.
set -euo pipefail
cd "$(dirname "$0")/.."
version=3.7.1
env="${TRITON_ENV:-.venv-triton}"
stamp="$env/triton-$version"
if [ -e "$stamp" ]; then exit 0; fi
echo "building $env (200 MB, once)"
python="${PYTHON:-.venv/bin/python}"
"$python" -m venv "$env"
"$env/bin/pip" install -q --disable-pip-version-check "triton==$version"
own="$("$env/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
"$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))' >"$own/project.pth"
touch "$stamp"
