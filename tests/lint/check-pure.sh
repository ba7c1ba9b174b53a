#!/bin/bash
# The pure library calls nothing but itself, common/, and what pure-symbols.allow allows.
#     check-pure.sh [CORE_LIBRARY BASE_LIBRARY]
set -u -f -o pipefail
build=${top_builddir:-.}
core=${1:-$build/libringmaster-core.a}
base=${2:-$build/libringmaster-base.a}
allow=$(cd "$(dirname "$0")" && pwd)/pure-symbols.allow
nm=${NM:-nm}

# shellcheck disable=SC2086
names() { $nm $1 -P "${@:2}" 2>/dev/null | awk 'NF >= 2 { print $1 }' | sort -u; }

members=$(ar t "$core" | grep -c .) || { echo "$core: holds no object: nothing is checked"; exit 77; }
patterns=$(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$allow")

allowed() {
    local pattern
    for pattern in $patterns; do
        # shellcheck disable=SC2053
        [[ $1 == $pattern ]] && return 0
    done
    return 1
}

# strtok and friends keep global state, strerror and strftime read the locale: the str* pattern would let them in.
forbidden=' strtok strerror strftime strsignal strcoll strxfrm strfry '

failures=0
while IFS= read -r symbol; do
    if [[ $forbidden == *" $symbol "* ]] || ! allowed "$symbol"; then
        echo "$symbol: not allowed in pure code, called by:" \
            $($nm -A -u "$core" | awk -v s="$symbol" '$NF == s { sub(/^[^:]*:/, ""); sub(/:.*/, ""); print }')
        failures=$((failures + 1))
    fi
done < <(comm -23 <(names -u "$core") <(names --defined-only "$core" "$base"))

# No globals: initialised or zeroed writable data of any linkage, less what the sanitizers add.
while read -r symbol; do
    echo "$symbol: writable data in pure code"
    failures=$((failures + 1))
done < <($nm -P --defined-only "$core" 2>/dev/null | awk '$2 ~ /^[bBdDC]$/ && $1 !~ /^(__|_GLOBAL|\.L)/ { print $1 }')

[[ $failures -eq 0 ]] || { echo "$core: $failures symbols break the rule"; exit 1; }
echo "$members objects are pure"
