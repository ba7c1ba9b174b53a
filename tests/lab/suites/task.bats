#!/usr/bin/env bats
# A cluster task through a rolling upgrade: a real deduplication of the shared storage, native to its level. The tests
# stand on each other, in order.

load lab

setup_file() {
    lab_up --vms 1 --reflink
    mkdir "$shared/data"
    ctl n1 task add dedup --command /usr/bin/duperemove --argument -dr --argument /shared/data --affinity native-level
}

teardown_file() {
    lab_down n1 n2 n3
}

shared=${LAB_STATE:-/var/lib/ringmaster-lab}/shared

# Two new files, equal by content and by nothing else; no third one, as duperemove 0.11 merges some of three and leaves
# the others to its next run. It compares whole extents: each file gets one, which a slow machine would write in several.
write_twins() { # name
    local file
    head -c 8M /dev/urandom > "$BATS_TEST_TMPDIR/twin"
    for file in "$shared/data/$1".{a,b}; do
        fallocate -l 8M "$file"
        dd if="$BATS_TEST_TMPDIR/twin" of="$file" bs=1M conv=notrunc,fsync status=none
        [ "$(places "$file" | wc -l)" -eq 1 ]
    done
    [ "$(blocks_shared "$1")" = "not all" ]
}

blocks_shared() { # of twins: do all their blocks lie at the same places?
    cmp "$shared/data/$1".{a,b} || return
    if [ "$(places "$shared/data/$1.a")" = "$(places "$shared/data/$1.b")" ]; then echo all; else echo "not all"; fi
}

places() { # of a file's extents
    sync
    filefrag -b4096 -v "$1" | sed -n 's/^ *[0-9]*: *\([0-9]*\)\.\. *\([0-9]*\): *\([0-9]*\)\.\. *\([0-9]*\):.*/\1 \2 \3/p' | grep .
}

last_run() {
    answers n1 "d['task']['runs'], d['task']['state'], d['task']['last']['result'], d['task']['last']['exit_code']" \
        task show dedup
}

ran_on() {
    answers n1 "d['task']['last']['node']" task show dedup
}

runs=0
run_once() { # on one of these nodes
    runs=$(answers n1 "d['task']['runs']" task show dedup)
    ctl n1 task run dedup
    eventually 60 "$((runs + 1)) idle done 0" last_run
    [[ " $* " == *" $(ran_on) "* ]]
}

native() { # nodes whose native level is the functional level
    answers n1 "' '.join(n['name'] for n in d['nodes'] if n['level'] == d['level']['committed'])" status
}

awaits() { # the node that is to be approved
    answers n1 "d['run']['awaits_approval']" upgrade status
}

@test "it runs on one node, and the two files share their blocks" {
    write_twins first
    run_once n1 n2 n3
    [ "$(blocks_shared first)" = all ]
}

@test "in mixed mode it moves on to the nodes that are not upgraded yet" {
    local node next
    ctl n1 upgrade start --target trixie --approve-each --yes
    for k in 1 2; do
        eventually 60 True answers n1 "bool(d['run']['awaits_approval'])" upgrade status
        node=$(awaits)
        ctl n1 upgrade approve "$node"
        eventually 240 True answers n1 \
            "d['run']['awaits_approval'] not in (None, '$node')" upgrade status
        eventually 30 $((3 - k)) eval 'native | wc -w'
        [[ " $(native) " != *" $node "* ]]
        write_twins "mixed$k"
        run_once $(native)
        [ "$(blocks_shared "mixed$k")" = all ]
    done
}

@test "no node of its level is left: it is blocked until the level is raised, and says so" {
    ctl n1 upgrade approve "$(awaits)"
    eventually 240 awaiting-raise answers n1 "d['run']['state']" upgrade status
    eventually 30 "blocked blocked until the level is raised" answers n1 \
        "d['task']['state'] + ' ' + d['task']['why']" task show dedup
    run ctl n1 task run dedup
    echo "$output"
    [ "$status" -eq 113 ]
    [[ $output == *"level raise"* ]]
    [ "$(answers n1 "[h['severity'] for h in d['health'] if h['code'] == 'TASK_BLOCKED']" status)" = "['warning']" ]
}

@test "the level is raised: it goes on" {
    ctl n1 level raise --yes --wait=60
    eventually 30 idle answers n1 "d['task']['state']" task show dedup
    write_twins raised
    run_once n1 n2 n3
    [ "$(blocks_shared raised)" = all ]
    "$lab" verify-guests
}
