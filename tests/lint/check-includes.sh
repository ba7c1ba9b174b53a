#!/bin/bash
# Every #include of the tree against layers.table. Prints what breaks a rule and the rule; exits 1 if anything did.
#     check-includes.sh [TREE]
set -u -f
tree=${1:-${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}}
table=$(cd "$(dirname "$0")" && pwd)/layers.table
failures=0

declare -a room_names room_patterns library_names library_patterns
declare -A layer may uses

fail() {
    echo "$*"
    failures=$((failures + 1))
}

# Is word $1 among the words $2, or is "*"?
among() { [[ " $2 " == *" $1 "* || " $2 " == *" * "* ]]; }

matches() { # path, patterns
    local pattern
    for pattern in $2; do
        # shellcheck disable=SC2053
        [[ $1 == $pattern ]] && return 0
    done
    return 1
}

room_of() { # sets $room
    local i
    for i in "${!room_names[@]}"; do
        matches "$1" "${room_patterns[i]}" && { room=${room_names[i]}; return 0; }
    done
    return 1
}

library_of() { # sets $library
    local i
    for i in "${!library_names[@]}"; do
        matches "$1" "${library_patterns[i]}" && { library=${library_names[i]}; return 0; }
    done
    return 1
}

read_table() {
    local kind name rest
    while read -r kind name rest; do
        case $kind in
        room) room_names+=("$name"); layer[$name]=${rest%% *}; room_patterns+=("${rest#* }") ;;
        may) may[$name]=$rest ;;
        uses) uses[$name]=$rest ;;
        foreign) library_names+=("$name"); library_patterns+=("$rest") ;;
        ''|'#'*) ;;
        *) echo "layers.table: unknown line: $kind"; exit 1 ;;
        esac
    done < "$table"
    for name in "${!may[@]}" "${!uses[@]}"; do
        [[ -v layer[$name] ]] || { echo "layers.table: no such room: $name"; exit 1; }
    done
}

check_local() { # file, line, room of file, included path
    local file=$1 line=$2 from=$3 path=$4
    [[ $path != config.h ]] || return 0
    if [[ ! -e $tree/$path ]]; then
        fail "$file:$line: \"$path\": no such file from the top of the tree; own headers are named from there"
    elif ! room_of "$path"; then
        fail "$file:$line: \"$path\" lies in no room of layers.table"
    elif [[ $room != "$from" ]] && ! among "$room" "${may[$from]-}"; then
        fail "$file:$line: \"$path\" (${layer[$room]} $room): ${layer[$from]} $from may include: ${may[$from]-nothing else}"
    fi
}

check_foreign() { # file, line, room of file, included path
    local file=$1 line=$2 from=$3 path=$4
    library_of "$path" || return 0
    among "$library" "${uses[$from]-}" ||
        fail "$file:$line: <$path> ($library): ${layer[$from]} $from may use: ${uses[$from]-no foreign library}"
}

read_table
files=0
while IFS= read -r file; do
    files=$((files + 1))
    room_of "$file" || { fail "$file: lies in no room of layers.table"; continue; }
    from=$room
    while IFS=: read -r line text; do
        if [[ $text =~ ^[[:space:]]*#[[:space:]]*include[[:space:]]*\"([^\"]+)\" ]]; then
            check_local "$file" "$line" "$from" "${BASH_REMATCH[1]}"
            check_foreign "$file" "$line" "$from" "${BASH_REMATCH[1]}"
        elif [[ $text =~ ^[[:space:]]*#[[:space:]]*include[[:space:]]*\<([^\>]+)\> ]]; then
            check_foreign "$file" "$line" "$from" "${BASH_REMATCH[1]}"
        fi
    done < <(grep -nE '^[[:space:]]*#[[:space:]]*include' "$tree/$file")
done < <(cd "$tree" && find agent backup cli common tests upgrade vm witness -name '*.[ch]' | sort)

[[ $files -gt 0 ]] || fail "no sources found in $tree"
[[ $failures -eq 0 ]] || { echo "$failures includes break the layers"; exit 1; }
echo "$files files keep the layers"
