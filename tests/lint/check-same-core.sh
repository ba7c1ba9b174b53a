#!/bin/bash
# ringmasterd and ringmaster-sim link one and the same libringmaster-core.a, and neither has rules of its own beside
# it. Reads the linker's maps, which say what each was linked from.
#     check-same-core.sh [MAP_OF_AGENT MAP_OF_SIM]
set -u -f
cd "${top_builddir:-.}" || exit 99
agent_map=${1:-ringmasterd.map}
sim_map=${2:-tests/sim/ringmaster-sim.map}
core=libringmaster-core.a
nm=${NM:-nm}

[[ -e $agent_map || -e $sim_map ]] || { echo "neither program is built: nothing is checked"; exit 77; }
[[ -e $agent_map ]] || { echo "no $agent_map"; exit 1; }
[[ -e $sim_map ]] || { echo "no $sim_map: the simulator does not exist yet"; exit 77; }

failures=0
fail() {
    echo "$*"
    failures=$((failures + 1))
}

own_objects() { awk '$1 == "LOAD" && $2 ~ /\.o$/ && $2 !~ /^\// { print $2 }' "$1" | sort -u; }
linked_members() { grep -oE "(^|[ /])$core\([^)]*\)" "$1" | sed 's/.*(//; s/)//' | sort -u; }
defined() { # shellcheck disable=SC2046
    $nm -P --defined-only "$@" 2>/dev/null | awk '$2 ~ /^[A-Z]$/ { print $1 }' | sort -u; }

for map in "$agent_map" "$sim_map"; do
    program=${map%.map}
    [[ $(awk '$1 == "LOAD" && $2 ~ /ringmaster-core[^\/]*\.a$/ { print $2 }' "$map" | sort -u) == "$core" ]] ||
        fail "$program: is not linked with this build's $core, or with another copy too"
    [[ ! $core -nt $program ]] || fail "$program: is older than $core"
    linked_members "$map" | grep -q 'core\.o$' || fail "$program: core.o is not linked from $core"
    # shellcheck disable=SC2046
    twice=$(comm -12 <(defined "$core") <(defined $(own_objects "$map")))
    [[ -z $twice ]] || fail "$program: has its own" $twice "beside $core"
done

foreign=$(own_objects "$sim_map" | grep -v '^tests/sim/')
[[ -z $foreign ]] || fail "${sim_map%.map}: is linked with objects from outside tests/sim:" $foreign

# Beside the same rules, no rule that only the agent has: every object of the library that it links, the other has.
# The bytes of a witness's record are no rule: adapters alone write and read them.
only=$(comm -3 <(linked_members "$agent_map") <(linked_members "$sim_map") | tr -d '\t' | grep -v -- '-record\.o$')
[[ -z $only ]] || fail "linked into one of the two only:" $only

[[ $failures -eq 0 ]] || exit 1
echo "both link the same $(linked_members "$sim_map" | grep -c .) objects of $core"
