# What the suites share; each says `load lab`. A suite has one lab, from lab_up in setup_file to lab_down in teardown_file.

lab=$BATS_TEST_DIRNAME/../lab

lab_up() { # options of `lab up`
    "$lab" up "$@" ${RINGMASTER_LAB_UP:-} >&3
    touch "$BATS_FILE_TMPDIR/up"
}

# A lab that this suite did not bring up stays: it is somebody else's, or a failed `lab up`, which is left to be looked
# at and cleared by the next one.
lab_down() { # nodes, whose journals' ends are printed after a failure
    local node
    [[ -e $BATS_FILE_TMPDIR/up ]] || return 0
    if [[ -e $BATS_FILE_TMPDIR/failed ]]; then
        for node; do
            echo "# ---- $node" >&3
            "$lab" log "$node" ringmasterd 2>&1 | tail -n 60 | sed 's/^/# /' >&3
            "$lab" log "$node" corosync 2>&1 | grep -v 'QB\|KNET' | tail -n 15 | sed 's/^/# /' >&3
        done
    fi
    "$lab" down >&3
}

# true: this test has failed. For lab_down, and for what a suite must mend for the tests that follow.
note_failure() {
    [[ -z $BATS_TEST_COMPLETED ]] && touch "$BATS_FILE_TMPDIR/failed"
}

teardown() {
    note_failure || true
}

ctl() { # node, clusterctl's arguments
    local node=$1
    shift
    timeout 180 "$lab" exec "$node" -- clusterctl "$@"
}

answers() { # node, expression in Python over the answer's data d, clusterctl's arguments
    local node=$1 path=$2
    shift 2
    ctl "$node" "$@" --output json 2>/dev/null |
        /usr/bin/python3 -c "import json,sys; d=json.load(sys.stdin)['data']; print($path)" 2>/dev/null
}

# nodes: "alike" when their databases hold the same, else what each holds. Entries go on coming, also while the nodes
# are asked one after the other: so it is asked until it is so, and all of them each time.
databases() {
    local node one seen=()
    for node; do
        one=$(answers "$node" "d['quorum']['index'], d['quorum']['state_hash']" status) || true
        seen+=("${one:-$node does not answer}")
    done
    if [[ $(printf '%s\n' "${seen[@]}" | sort -u | wc -l) -eq 1 && $one ]]; then echo alike; else echo "${seen[*]}"; fi
}

eventually() { # seconds, what the command prints at last, command…
    local end=$((SECONDS + $1)) wanted=$2 last=
    shift 2
    while [ $SECONDS -lt $end ]; do
        last=$("$@") || true
        [ "$last" != "$wanted" ] || return 0
        sleep 0.3
    done
    echo "waited in vain for $wanted of $*: $last"
    return 1
}
