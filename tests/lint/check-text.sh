#!/bin/bash
# Every C source, that of the lab's guest too: no call that writes a text without knowing how much room there is, no
# line of more than 120 columns.
set -u
tree=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
cd "$tree" || exit 99
files=0
failures=0
while IFS= read -r file; do
    files=$((files + 1))
    LC_ALL=C.UTF-8 grep -HnE '^.{121}' "$file" && failures=$((failures + 1))
    grep -HnE '(^|[^a-zA-Z0-9_])(sprintf|vsprintf|strcpy|strcat|stpcpy|gets)\(' "$file" && failures=$((failures + 1))
done < <(find agent backup cli common task tests upgrade vm witness -name '*.[ch]' | sort)
[[ $files -gt 0 && $failures -eq 0 ]] || exit 1
echo "$files files"
