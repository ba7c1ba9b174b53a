#!/usr/bin/env bats
# Two nodes and a witness in a third place, as an admin sets it up: one node dies and the other goes on, keys change, and
# every fault has its name. The service is Azurite, over TLS, at Azure's own name.

load lab
# What `witness set azure` says of this account in each test.
azure=(witness set azure --account ringmasterlab)

setup_file() {
    lab_up --nodes 2 --no-vms --witness azurite
}

teardown_file() {
    lab_down n1 n2
}

teardown() {
    note_failure || return 0
    "$lab" heal # for the tests that follow
    "$lab" thaw witness || true
    "$lab" witness-answers
    "$lab" exec n1 -- sh -c '[ ! -e /root/hosts ] || cat /root/hosts > /etc/hosts'
    key 1 /root/k1
    ctl n1 "${azure[@]}" --key-file /root/k1 || true
}

whole() { # both nodes and the witness vote
    eventually 60 "True [1, 1] 1" answers n1 "d['quorum']['quorate'], [n['weight'] for n in d['quorum']['nodes']], d['quorum']['witness']['weight']" quorum show
}

sequence() { answers "$1" "d['witness']['sequence']" status; }

names() { # cause, exit status: what n1 says of the witness now
    local told
    told=$(ctl n1 witness test --output json 2>/dev/null) && status=0 || status=$?
    told=$(/usr/bin/python3 -c "import json,sys; a=json.load(sys.stdin); print(a['data']['cause'], len(a['status']['remedy']) > 0)" <<< "$told")
    [ "$told $status" = "$1 True $2" ] || { echo "$told $status, not $1 True $2"; return 1; }
}

key() { # which of the account's, into which file of n1; a word instead of a number: a key of nobody
    "$lab" exec n1 -- sh -c "umask 077; cat > $2" < <(
        case $1 in
        1 | 2) sed -n "$1p" "${LAB_STATE:-/var/lib/ringmaster-lab}/witness/keys" ;;
        *) head -c 64 /dev/urandom | base64 -w 0 ;;
        esac)
}

@test "the witness votes, its sequence number is in status, and every node reaches it" {
    whole
    for n in n1 n2; do
        ctl $n witness test
        [ "$(sequence $n)" -ge 2 ]
    done
    run ctl n1 status
    [[ $output == *"container ringmaster-witness of the storage account ringmasterlab, 1 vote"* ]]
}

@test "one node dies: the other leads, commits, and has raised the sequence number" {
    whole
    leader=$(answers n1 "d['quorum']['leader']" status)
    other=$([ "$leader" = n1 ] && echo n2 || echo n1)
    before=$(sequence "$other")
    "$lab" crash "$leader"
    eventually 30 "True $other" answers "$other" "d['quorum']['quorate'], d['quorum']['leader']" status
    ctl "$other" cluster config set upgrade.executor /usr/local/libexec/another
    eventually 30 /usr/local/libexec/another answers "$other" "d['settings']['upgrade.executor']" cluster config show
    [ "$(sequence "$other")" -eq $((before + 1)) ]
    eventually 30 "['$other']" answers "$other" "d['witness']['members']" witness show
    "$lab" start "$leader"
    whole
}

@test "the witness is away: the nodes go on by themselves, and say so" {
    whole
    "$lab" cut n1 witness
    "$lab" cut n2 witness
    ctl n1 cluster config set upgrade.executor /usr/local/libexec/one
    names connect 75
    eventually 10 True answers n1 "'WITNESS_UNREACHABLE' in [h['code'] for h in d['health']]" status
    "$lab" heal
    ctl n1 witness test
    eventually 10 False answers n1 "'WITNESS_UNREACHABLE' in [h['code'] for h in d['health']]" status
    whole
}

@test "witness test names the cause" {
    while IFS='|' read -r cause code rule; do
        "$lab" witness-answers "$rule"
        names "$cause" "$code" < /dev/null
    done <<- END
	clock-skew|113|answer 403 AuthenticationFailed date=7200
	key-wrong|113|answer 403 AuthenticationFailed
	key-disabled|113|answer 403 KeyBasedAuthenticationNotPermitted
	firewall|113|answer 403 AuthorizationFailure
	permission|113|answer 403 AuthorizationPermissionMismatch
	container-missing|113|answer 404 ContainerNotFound
	blob-missing|113|answer 404 BlobNotFound
	throttled|124|answer 503 ServerBusy
	server|124|answer 500 InternalError
	broken|124|reset
	protocol|124|answer 200 - id=no
	timeout|124|hang
	account-missing|113|answer 403 AccountIsDisabled
	leased|113|answer 412 LeaseIdMissing
	foreign|113|answer 200 - etag=1 size=300
	END
    for tls in untrusted expired name; do
        "$lab" witness-answers --tls $tls
        names tls-$tls 75
    done
    "$lab" witness-answers --tls none
    names tls 75
    "$lab" witness-answers
    ctl n1 witness test
}

restart_agent() { # a name that was looked up is kept for a minute
    "$lab" exec n1 -- systemctl restart ringmasterd
    eventually 60 "member True" answers n1 "d['self']['phase'], d['quorum']['quorate']" status
}

@test "witness test names the cause: no such name, and nobody there" {
    "$lab" exec n1 -- sh -c 'cp /etc/hosts /root/hosts; grep -v blob.core /root/hosts > /etc/hosts'
    restart_agent
    names dns 75
    "$lab" exec n1 -- sh -c '{ grep -v blob.core /root/hosts; echo 127.0.0.1 ringmasterlab.blob.core.windows.net; } > /etc/hosts'
    restart_agent
    names connect 75
    "$lab" exec n1 -- sh -c 'cat /root/hosts > /etc/hosts; rm /root/hosts'
    restart_agent
    ctl n1 witness test
    whole
}

@test "a proxy leads to the witness; without it, witness test says so" {
    key 1 /root/k1
    local via=(--key-file /root/k1 --proxy http://witness:3128)
    run ctl n1 "${azure[@]}" "${via[@]}" # it does not run
    [ "$status" -eq 75 ]
    [[ $output == *"the proxy does not lead to"* ]]
    "$lab" witness-http pass
    ctl n1 "${azure[@]}" "${via[@]}"
    eventually 30 http://witness:3128 answers n2 "d['witness']['proxy']" witness show
    for n in n1 n2; do ctl $n witness test; done
    "$lab" witness-http 'answer 407 -'
    names proxy 75
    "$lab" witness-http
    names proxy 75
    ctl n1 "${azure[@]}" --key-file /root/k1
    ctl n1 witness test
    whole
}

auth() { # node
    answers "$1" "d['witness']['auth']" witness show
}

goes_on() { # value: n2 is away, and n1 goes on with the witness
    "$lab" crash n2
    eventually 60 "True n1" answers n1 "d['quorum']['quorate'], d['quorum']['leader']" status
    ctl n1 cluster config set upgrade.executor "/$1"
    "$lab" start n2
    eventually 60 True answers n2 "d['quorum']['quorate']" status # it may come back before it lost its vote
    whole
}

@test "a SAS instead of keys: the witness votes, and witness test names what is wrong with it" {
    "$lab" witness-secret sas | "$lab" exec n1 -- sh -c 'umask 077; cat > /root/sas'
    ctl n1 "${azure[@]}" --sas-file /root/sas
    eventually 30 sas auth n2
    ctl n2 witness test
    goes_on sas
    "$lab" witness-answers 'answer 403 AuthenticationFailed'
    names sas-wrong 113
    "$lab" witness-answers "answer 403 AuthenticationFailed date=$((2 * 86400))"
    names sas-expired 113
    "$lab" witness-answers
}

@test "a managed identity instead of keys: the witness votes, and witness test names what is wrong with it" {
    "$lab" witness-http "imds $("$lab" witness-secret token) 3600"
    ctl n1 "${azure[@]}" --managed-identity --metadata http://witness:3128
    eventually 30 identity auth n2
    ctl n2 witness test
    goes_on identity
    "$lab" witness-http 'answer 400 -'
    restart_agent # the token is kept
    names identity 113
    "$lab" witness-http
    names identity 75
    key 1 /root/k1
    ctl n1 "${azure[@]}" --key-file /root/k1
    eventually 30 keys auth n2
    whole
}

@test "keys change, and the witness keeps its vote" {
    whole
    uuid=$(answers n1 "d['witness']['uuid']" witness show)
    key nobody /root/k1
    key 2 /root/k2
    "$lab" exec n1 -- chmod 0644 /root/k2
    run ctl n1 "${azure[@]}" --key-file /root/k1 --key2-file /root/k2
    [ "$status" -eq 64 ]
    "$lab" exec n1 -- chmod 0600 /root/k2
    ctl n1 "${azure[@]}" --key-file /root/k1 --key2-file /root/k2
    eventually 30 "1 $uuid" answers n1 "d['quorum']['witness']['weight'], d['quorum']['witness']['uuid']" quorum show
    for n in n1 n2; do
        eventually 10 "2" answers $n "d['key']" witness test
    done
    "$lab" crash n2
    eventually 30 "True n1" answers n1 "d['quorum']['quorate'], d['quorum']['leader']" status
    ctl n1 cluster config set upgrade.executor /usr/local/libexec/two
    "$lab" start n2
    whole
    run ctl n1 "${azure[@]}" --key-file /root/k1 # of nobody: refused, and the old ones stay
    [ "$status" -eq 113 ]
    ctl n1 witness test
    key 1 /root/k1
    ctl n1 "${azure[@]}" --key-file /root/k1
    eventually 10 "1 True" answers n2 "d['key'], d['sequence'] > 1" witness test # which hears of it a moment later
    eventually 30 "$uuid" answers n1 "d['witness']['uuid']" witness show
}

@test "no key is in an answer, a log, a process or a support bundle" {
    ctl n1 support-bundle --file /root/b.tar.gz --yes
    while read -r secret; do
        for n in n1 n2; do
            run "$lab" exec $n -- sh -c 'journalctl --no-pager; cat /proc/[0-9]*/cmdline; clusterctl witness show -o json; \
                clusterctl events -o json; [ ! -e /root/b.tar.gz ] || tar -xzO -f /root/b.tar.gz'
            [[ ${#output} -gt 10000 && $output != *"$secret"* ]]
            run "$lab" exec $n -- grep -c -a -F -- "$secret" /var/lib/ringmaster/db.sqlite
            [ "$output" = 0 ]
        done
    done < "${LAB_STATE:-/var/lib/ringmaster-lab}/witness/keys"
}

uuid() { answers n1 "d['witness']['uuid']" witness show; }

@test "removed, it gives its vote back; set again to the same leader, it is the same and votes" {
    whole
    local was leader before
    was=$(uuid)
    leader=$(answers n1 "d['quorum']['leader'], d['quorum']['term']" status)
    before=$(sequence n1)
    ctl n2 witness remove --yes
    eventually 60 "None [1, 1]" answers n1 "d['quorum']['witness'], [n['weight'] for n in d['quorum']['nodes']]" quorum show
    eventually 30 None answers n1 "d['witness']" status
    key 1 /root/k1
    ctl n1 "${azure[@]}" --key-file /root/k1
    whole
    eventually 30 "$leader" answers n1 "d['quorum']['leader'], d['quorum']['term']" status
    [ "$(uuid)" = "$was" ]
    [ "$(sequence n1)" -gt "$before" ]
}

@test "a folder on a share takes the place of the account, and back" {
    local was
    was=$(uuid)
    ctl n1 witness set file --path /srv/witness
    eventually 60 "True False" answers n1 "d['witness']['kind'] == 'file', d['witness']['changing']" status
    whole
    [ "$(uuid)" != "$was" ]
    for n in n1 n2; do ctl $n witness test; done
    goes_on share
    [ "$(sequence n1)" -ge 3 ]
    "$lab" exec n1 -- sh -c 'mount --bind /srv/witness /mnt && umount /srv/witness'
    names share-away 75
    "$lab" exec n1 -- sh -c 'mount --bind /mnt /srv/witness && umount /mnt'
    ctl n1 witness test
    key 1 /root/k1
    ctl n1 "${azure[@]}" --key-file /root/k1
    eventually 60 "$was False" answers n1 "d['witness']['uuid'], d['witness']['changing']" status
    whole
}
