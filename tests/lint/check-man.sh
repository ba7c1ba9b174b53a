#!/bin/bash
# The man pages are clean.
set -u -o pipefail
command -v mandoc > /dev/null || { echo "no mandoc"; exit 77; }
tree=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$tree/man" || exit 99
mandoc -T lint -W warning ./*.[1-8]
