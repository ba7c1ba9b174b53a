#!/bin/bash
# Every planted defect still fits its file: `make check-mutations` is long, and would tell of it late.
tree=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
exec /usr/bin/python3 "$tree/tests/mutations/run" --stale
