#!/bin/bash
# Every command's JSON is as its schema says, and every verb of clusterctl that can answer in JSON has a schema.
set -u -o pipefail
tree=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
build=${top_builddir:-$tree}
python=/usr/bin/python3
[[ -x $build/tests/unit/test_commands ]] || { echo "tests/unit/test_commands is not built"; exit 99; }
"$python" -c 'import jsonschema' 2> /dev/null || { echo "SCHEMAS NOT CHECKED: no python3-jsonschema"; exit 77; }
answers=$(mktemp) || exit 99
trap 'rm -f "$answers"' EXIT
RINGMASTER_ANSWERS=$answers "$build/tests/unit/test_commands" > /dev/null 2>&1 ||
    { echo "tests/unit/test_commands fails: see its own log"; exit 99; }
"$python" -W ignore "$tree/tests/lint/validate-answers.py" "$tree/cli/schemas" "$answers" || exit 1

wrong=0
verbs=0
while read -r wire; do
    verbs=$((verbs + 1))
    [[ -e $tree/cli/schemas/${wire//./-}.schema.json ]] || { echo "$wire has no schema"; wrong=1; }
done < <(sed -n 's/^ *{"\([a-z.-]*\)", ACCESS_[A-Z]*, FOR_[A-Z]*, do_[a-z_]*, [a-zA-Z_]*},$/\1/p' "$tree/agent/request.c")
[[ $verbs -gt 0 ]] || { echo "no verb was found in agent/request.c"; wrong=1; }
exit $wrong
