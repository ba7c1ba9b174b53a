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
rules=$(sed -e 's/#.*//' -e '/^[[:space:]]*$/d' "$allow")

# The last rule that matches decides.
allowed() {
    local rule verdict=1
    for rule in $rules; do
        # shellcheck disable=SC2053
        [[ $1 == ${rule#!} ]] && { [[ $rule == !* ]]; verdict=$((! $?)); }
    done
    return "$verdict"
}

failures=0
[[ -n $(names --defined-only "$core") ]] || { echo "$core: $nm sees no symbol"; exit 1; }
undefined=$(comm -23 <(names -u "$core") <(names --defined-only "$core" "$base")) || exit 1
while IFS= read -r symbol; do
    if [[ -n $symbol ]] && ! allowed "$symbol"; then
        echo "$symbol: not allowed in pure code, called by:" \
            $($nm -A -u "$core" | awk -v s="$symbol" '$NF == s { sub(/^[^:]*:/, ""); sub(/:.*/, ""); print }')
        failures=$((failures + 1))
    fi
done <<< "$undefined"

objects=$(${OBJDUMP:-objdump} -t "$core") || exit 1
# No globals: no object of any linkage in a section that stays writable. (.data.rel.ro holds constant pointers.)
while read -r section symbol; do
    echo "$symbol: writable data in pure code ($section)"
    failures=$((failures + 1))
done < <(sed -nE 's/^[0-9a-f]+ .{5}[^d][O ] ([^\t]+)\t[0-9a-f]+ +(.*)$/\1 \2/p' <<< "$objects" |
    awk '$1 ~ /^(\.data|\.bss|\.tdata|\.tbss|\*COM\*)/ && $1 !~ /^\.data\.rel\.ro/ && $2 !~ /^__(a|ub)san_/')

[[ $failures -eq 0 ]] || { echo "$core: $failures symbols break the rule"; exit 1; }
echo "$members objects are pure"
