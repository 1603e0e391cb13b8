#!/bin/bash
# A shell entry point: it prepares something, then starts Python.
set -e
echo "preparing: $*"
python helper.py "$@" --model-dir "$SM_MODEL_DIR"
