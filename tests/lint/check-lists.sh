#!/bin/bash
# Every source of the tree is named in its folder's local.mk: what is not would be missing from the archive.
set -u
tree=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$tree" || exit 99
named=$(cat ./*/local.mk tests/*/local.mk | sed -e 's/#.*//' -e 's/ \(tests\/unit\/test_[a-z0-9_]*\)$/ \1.c/' | tr -s ' \t\\' '\n')
failures=0
files=0
while IFS= read -r file; do
    files=$((files + 1))
    grep -qxF -- "$file" <<< "$named" && continue
    echo "$file: is in no local.mk"
    failures=$((failures + 1))
done < <(find agent backup cli common task tests/fuzz tests/unit tests/sim upgrade vm witness -name '*.[ch]' -o -name '*.def' | sort)
[[ $files -gt 0 && $failures -eq 0 ]] || exit 1
echo "$files files are listed"
