#!/bin/bash
# The bash completion offers every noun, verb and option of the verb table, and nothing else as a verb. The table is
# read from cli/*.c itself; the completion reads the help.
set -u
tree=${top_srcdir:-$(cd "$(dirname "$0")/../.." && pwd)}
build=$(cd "${top_builddir:-.}" && pwd)
[[ -x $build/clusterctl ]] || { echo "no $build/clusterctl"; exit 1; }
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
failures=0
checks=0

# A program whose lists need no agent.
cat > "$work/clusterctl" << END
#!/bin/sh
case "\$*" in
"node list") printf 'NODE  STATE\nn1    online\nn2    online\n' ;;
"vm list") printf 'VM   NODE\nvm1  n1\n' ;;
"task list") printf 'TASK   STATE\ndedup  idle\n' ;;
"repository list") printf 'REPOSITORY  PATH\nmain        /srv/backup\n' ;;
"job list") printf 'JOB  STATE\nj7   running\n' ;;
*) exec "$build/clusterctl" "\$@" ;;
esac
END
chmod +x "$work/clusterctl"

# shellcheck source=contrib/completion/clusterctl
. "$tree/contrib/completion/clusterctl" || exit 1

offers() { # words, the last of which is being typed
    COMP_WORDS=(clusterctl "$@")
    COMP_CWORD=$#
    _clusterctl "$work/clusterctl"
}
fail() {
    failures=$((failures + 1))
    echo "$*"
}
expect() { # what is offered for the last word, as one string, and the words
    local want=$1
    shift
    checks=$((checks + 1))
    offers "$@"
    [[ ${COMPREPLY[*]} == "$want" ]] || fail "clusterctl $*: offers \"${COMPREPLY[*]}\", not \"$want\""
}
expect_among() { # candidates, words
    local want
    local -a wanted
    read -r -a wanted <<< "$1"
    shift
    offers "$@"
    for want in "${wanted[@]}"; do
        checks=$((checks + 1))
        [[ " ${COMPREPLY[*]} " == *" $want "* ]] || fail "clusterctl $*: does not offer $want, but \"${COMPREPLY[*]}\""
    done
}

# "node evict|--keep-slot --force": words and own options of every row.
table=$(awk '
    /\.words = "/ { row(); split($0, part, "\""); words = part[2]; options = "" }
    /\.options = /, /,$/ {
        line = $0
        while (match(line, /OPT_BIT\(OPT_[A-Z_]+\)/)) {
            name = tolower(substr(line, RSTART + 12, RLENGTH - 13))
            gsub("_", "-", name)
            options = options " --" name
            line = substr(line, RSTART + RLENGTH)
        }
    }
    function row() { if (words) print words "|" options }
    END { row() }' "$tree"/cli/*.c)
[[ $(wc -l <<< "$table") -gt 20 ]] || { echo "cannot read the verb table in cli/*.c"; exit 1; }

declare -A following=()
while IFS='|' read -r words options; do
    expect_among "$options --output --wait --follow --dry-run --yes --help --version" $words -
    read -r -a words <<< "$words"
    for ((k = 0; k < ${#words[@]}; k++)); do
        following[${words[*]:0:k} ]+="${words[k]} "
    done
done <<< "$table"
for words in "${!following[@]}"; do
    expect_among "${following[$words]}" $words ''
done

known=$(cut -d '|' -f 1 <<< "$table" | sort)
offered=$(_clusterctl_verbs "$build/clusterctl" | cut -d '|' -f 1 | sort)
checks=$((checks + 1))
[[ $known == "$offered" ]] || fail "not the same verbs:" "$(diff <(echo "$known") <(echo "$offered"))"

expect 'node' no
expect 'n1 n2' node drain ''
expect 'n1 n2' node drain --wait=5 ''
expect '' node drain n1 ''
expect 'vm1' vm migrate v
expect 'n1 n2' vm migrate vm1 ''
expect 'n2' vm start vm1 --node n2
expect 'j7' job show ''
expect_among trixie upgrade start --target ''
expect_among json status --output ''
expect_among json status -o ''
expect 'json' status --output = j
expect 'node' --output json no
expect "$tree/COPYING" vm add --xml "$tree/COPY"
expect '' nonsense ''

[[ $failures -eq 0 ]] || exit 1
echo "$checks completions are right"
