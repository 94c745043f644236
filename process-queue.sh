#!/bin/sh
# Makes a worker process waiting messages now and prints the answer as JSON: process-queue.sh images|videos [--max N]
set -eu

case "${1:-}" in
  images | videos) ;;
  *)
    echo "usage: $0 images|videos [--max N]" >&2
    exit 2
    ;;
esac

if [ -n "${PYTHON:-}" ]; then
  python=$PYTHON
elif [ -x "$(dirname "$0")/.venv/bin/python" ]; then
  python=$(dirname "$0")/.venv/bin/python
else
  python=python3
fi

exec "$python" -m storyboard process "$@" --json
