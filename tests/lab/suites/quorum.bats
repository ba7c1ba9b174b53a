#!/usr/bin/env bats
# Site failures: four nodes on two sites and Azurite on a third place. RINGMASTER_TEST_LONG=1: also every made-up answer
# of the witness, while the sites are cut. Two nodes: witness.bats; three without a witness: faults.bats.

load lab

setup_file() {
    lab_up --nodes 4 --sites 2 --witness azurite --no-vms
    # Rings of four form in 5 s by default; there are many to come.
    ctl n1 cluster config set corosync.token_ms 500
    ctl n1 cluster config set corosync.token_coefficient_ms 0
}

teardown_file() {
    lab_down n1 n2 n3 n4
}

teardown() {
    note_failure || return 0
    "$lab" heal # and the rest of it, for the tests that follow
    "$lab" start witness
    "$lab" thaw witness
    "$lab" witness-answers
    for n in n1 n2 n3 n4; do
        "$lab" thaw $n || "$lab" start $n
        ctl $n quorum prevent --clear || true
    done
}

# For the agent and for corosync: True True.
quorate() { # node
    answers "$1" "d['quorum']['quorate'], d['quorum']['corosync_quorate']" status
}

halves() { # how many of these nodes have a quorum, for the agent and for corosync
    local node said=
    for node; do said+=$(quorate "$node"); done
    grep -o True <<< "$said" | wc -l
}

whole() { # all nodes are online, and vote, as the witness does
    local node
    for node in n1 n2 n3 n4; do
        eventually 60 "True True ['online']" answers $node \
            "d['quorum']['quorate'], d['quorum']['corosync_quorate'], sorted({n['state'] for n in d['nodes']})" status
    done
    eventually 60 "[1, 1, 1, 1] 1" votes n1
}

votes() { # of the nodes, and of the witness
    answers "$1" "[n['weight'] for n in d['quorum']['nodes']], d['quorum']['witness']['weight']" quorum show
}

write() { # node, value: a committed write
    ctl "$1" cluster config set upgrade.executor "/$2"
}

value() { # node
    answers "$1" "d['settings']['upgrade.executor']" cluster config show
}

winner() { # of two nodes on either side of a cut
    eventually 30 2 halves "$1" "$2" >&2
    if [ "$(quorate "$1")" = "True True" ]; then echo "$1"; else echo "$2"; fi
}

other() { # of n1 and n3
    if [ "$1" = n1 ]; then echo n3; else echo n1; fi
}

one_half_commits() { # value: exactly the winning half does
    local won lost
    won=$(winner n1 n3)
    lost=$(other "$won")
    write "$won" "$1"
    run "$lab" exec "$lost" -- timeout 20 clusterctl cluster config set upgrade.executor /lost
    [ "$status" -ne 0 ]
    "$lab" exec "$won" -- corosync-quorumtool -s | grep -q '^Quorate: *Yes'
    "$lab" exec "$lost" -- corosync-quorumtool -s | grep -q '^Quorate: *No'
}

caught_up() { # value, nodes
    local wanted=/$1 node
    shift
    for node; do eventually 30 "$wanted" value "$node"; done
}

@test "the sites are cut: exactly one half goes on, and the other is caught up" {
    whole
    "$lab" cut site1 site2
    one_half_commits cut
    "$lab" heal
    whole
    caught_up cut n1 n2 n3 n4
}

@test "the sites are cut: the half that reaches the witness goes on" {
    "$lab" cut site1 witness
    "$lab" cut site1 site2
    one_half_commits reached
    [ "$(winner n1 n3)" = n3 ]
    "$lab" heal
    whole
    caught_up reached n1 n2
}

@test "the sites are cut: the preferred one goes on" {
    ctl n1 cluster config set quorum.preferred_site site2
    "$lab" cut site1 site2
    one_half_commits preferred
    [ "$(winner n1 n3)" = n3 ]
    "$lab" heal
    whole
    ctl n1 cluster config set quorum.preferred_site ''
}

@test "packets are lost in one direction only: at most one half goes on" {
    "$lab" cut site1 site2 --one-way
    one_half_commits one-way
    "$lab" heal
    whole
    caught_up one-way n1 n3
}

@test "the witness is cut off: all go on" {
    "$lab" cut site1 witness
    "$lab" cut site2 witness
    write n1 without-witness
    [ "$(halves n1 n2 n3 n4)" -eq 8 ]
    "$lab" heal
    whole
}

exit_of() { # node, clusterctl's arguments
    ctl "$@" > /dev/null 2>&1
    echo $?
}

@test "a frozen half resumes without a quorum, and follows" {
    "$lab" freeze n3
    "$lab" freeze n4
    eventually 30 "True True" quorate n1
    write n1 frozen
    "$lab" thaw n3
    "$lab" thaw n4
    caught_up frozen n3 n4
    whole
}

@test "a frozen agent, and a frozen corosync: the others go on" {
    for unit in ringmasterd corosync; do
        "$lab" freeze n2 $unit
        eventually 30 0 exit_of n1 cluster config set upgrade.executor /$unit
        "$lab" thaw n2 $unit
        whole
        caught_up $unit n2
    done
}

# Azurite writes its index down every 5 s: one that is killed forgets what came after, which is a test of its own.
azurite_is_saved() {
    sleep 6
}

@test "Azurite is killed while the sites are cut: the half that goes on keeps its quorum, and none takes it over" {
    "$lab" cut site1 site2
    local won
    won=$(winner n1 n3)
    azurite_is_saved
    "$lab" crash witness
    write "$won" killed
    [ "$(halves n1 n3)" -eq 2 ]
    "$lab" start witness
    write "$won" started
    [ "$(halves n1 n3)" -eq 2 ]
    "$lab" heal
    whole
    caught_up started n1 n3
}

@test "Azurite is frozen, then the sites are cut: none goes on until it is thawed" {
    "$lab" freeze witness
    "$lab" cut site1 site2
    eventually 30 0 halves n1 n2 n3 n4
    "$lab" thaw witness
    one_half_commits thawed
    "$lab" heal
    whole
}

@test "the witness answers nonsense as the sites are cut: none goes on until it answers again" {
    local answer
    local -a all=("answer 503 ServerBusy" "lost")
    [[ -z ${RINGMASTER_TEST_LONG:-} ]] || all+=(
        "answer 403 AuthenticationFailed date=3600" "answer 403 AuthenticationFailed" "answer 404 ContainerNotFound"
        "answer 404 BlobNotFound" "answer 409 ContainerBeingDeleted" "answer 412 ConditionNotMet"
        "answer 429 TooManyRequests" "answer 500 InternalError" "answer 200 - size=300 cut=200" hang reset garbage half)
    for answer in "${all[@]}"; do
        "$lab" witness-answers "$answer"
        "$lab" cut site1 site2
        eventually 30 0 halves n1 n2 n3 n4
        "$lab" witness-answers
        eventually 60 2 halves n1 n3
        "$lab" heal
        whole
    done
}

@test "nodes lose their power one by one: the last goes on with the witness; a stale half that starts first waits" {
    "$lab" crash n4
    eventually 60 "[1, 1, 1, 0] 0" votes n1
    "$lab" crash n3
    eventually 60 "[1, 1, 0, 0] 1" votes n1
    "$lab" crash n2
    eventually 30 "True True" quorate n1
    write n1 one-left
    "$lab" crash n1
    "$lab" start n3
    "$lab" start n4
    eventually 60 "False False" quorate n3
    for i in 1 2 3 4 5; do # whatever they try meanwhile: the record does not name them
        [ "$(halves n3 n4)" -eq 0 ]
        sleep 1
    done
    "$lab" start n1
    caught_up one-left n1 n3 n4
    "$lab" start n2
    whole
    caught_up one-left n2
}

@test "a whole site loses its power: the other goes on" {
    "$lab" crash n1
    "$lab" crash n2
    eventually 30 "True True" quorate n3
    write n4 site
    "$lab" start n1
    "$lab" start n2
    whole
    caught_up site n1 n2
}

found() { # node, code of a finding
    answers "$1" "'$2' in [h['code'] for h in d['health']]" status
}

copies() { # node: what it gave up to a later epoch
    "$lab" exec "$1" -- sh -c 'ls /var/lib/ringmaster | grep -c "before-epoch-1$"'
}

@test "the sites are cut: quorum is forced on the losing half; healed, the other gives up what it did, and keeps a copy" {
    local won lost mate node
    "$lab" cut site1 site2
    won=$(winner n1 n3)
    lost=$(other "$won")
    mate=$([ "$lost" = n1 ] && echo n2 || echo n4)
    write "$won" given-up
    # What the losing half says of the witness.
    eventually 60 "elsewhere 2 5" answers "$lost" \
        "d['quorum']['witness']['spoken'], d['quorum']['votes_here'], d['quorum']['votes_total']" quorum show
    run ctl "$lost" quorum show
    [[ $output == *"the witness has spoken for other nodes"* ]]
    [ "$(exit_of "$won" quorum force --yes)" -eq 113 ]
    [ "$(exit_of "$lost" quorum force --yes)" -eq 107 ]
    ctl "$lost" quorum force --force --yes
    eventually 60 "True True" quorate "$lost"
    [ "$(found "$lost" QUORUM_FORCED)" = True ]
    write "$lost" forced
    caught_up forced "$mate"
    [ "$(value "$won")" = /given-up ]
    "$lab" heal
    whole
    caught_up forced n1 n2 n3 n4
    for node in n1 n2 n3 n4; do
        [ "$(copies $node)" -eq "$([ $node = "$lost" ] && echo 0 || echo 1)" ]
        eventually 30 "1 $lost" answers $node "d['quorum']['epoch'], d['quorum']['forced']['node']" quorum show
    done
    [ "$(found n1 QUORUM_FORCED)" = False ]
    run ctl "$won" events
    [[ $output == *"quorum was forced by uid 0, epoch 1: what other nodes changed without it is given up"* ]]
}

prevented() { # nodes
    local node
    for node; do answers "$node" "d['quorum']['prevented']" quorum show; done | xargs
}

@test "nodes that are prevented do not go on, also after a restart; one that joins votes again" {
    [ "$(exit_of n1 quorum prevent)" -eq 113 ] # it has a quorum
    "$lab" freeze witness
    "$lab" cut site1 site2
    eventually 30 0 halves n1 n2 n3 n4
    for node in n1 n3 n4; do ctl $node quorum prevent; done
    "$lab" exec n3 -- systemctl restart ringmasterd
    eventually 60 "True True True" prevented n1 n3 n4
    [ "$(found n3 QUORUM_PREVENTED)" = True ]
    "$lab" cut site1 witness
    "$lab" thaw witness
    for i in 1 2 3 4 5; do # site2 and the witness would be enough
        [ "$(halves n1 n2 n3 n4)" -eq 0 ]
        sleep 1
    done
    for node in n3 n4; do ctl $node quorum prevent --clear; done
    eventually 60 "True True" quorate n3
    write n3 cleared
    [ "$(prevented n1)" = True ]
    "$lab" heal
    whole
    caught_up cleared n1 n2
    eventually 30 False prevented n1
}

@test "a witness that was rolled back is refused, and makes no half go on" {
    local state=${LAB_STATE:-/var/lib/ringmaster-lab}/witness
    azurite_is_saved
    "$lab" crash witness
    cp -a "$state/data" "$state/older"
    "$lab" start witness
    "$lab" cut site1 site2 # raises the record's sequence
    local won
    won=$(winner n1 n3)
    "$lab" heal
    whole
    "$lab" crash witness
    rm -r "$state/data"
    mv "$state/older" "$state/data"
    "$lab" start witness
    eventually 30 rolled-back answers "$won" "d['cause']" witness test
    "$lab" cut site1 site2
    eventually 30 0 halves n1 n2 n3 n4
    "$lab" heal
    eventually 60 8 halves n1 n2 n3 n4
}
