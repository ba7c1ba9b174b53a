#!/usr/bin/env bats
# What only a real cluster can be given wrongly: join tokens that were used, have expired, are somebody else's or of
# another cluster, and the key of another ring. Each is refused in words, with its exit status, and leaves nothing: the
# right one works right after it.

load lab

setup_file() {
    lab_up --nodes 3 --no-vms
}

teardown_file() {
    lab_down n1 n2 n3
}

at() { # node, command
    local node=$1
    shift
    timeout 120 "$lab" exec "$node" -- "$@"
}

succeeds_within() { # seconds, command
    local end=$((SECONDS + $1))
    shift
    until "$@" > /dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.5
    done
}

online() { # how many, as n1 sees it
    at n1 clusterctl status --output json | /usr/bin/python3 -c "
import json, sys
nodes = json.load(sys.stdin)['data']['nodes']
sys.exit(sum(n['state'] == 'online' for n in nodes) != $1)"
}

carry() { # file on n1, file on n3
    at n1 cat "$1" | timeout 60 "$lab" exec n3 -- sh -c "umask 077; cat > $2"
}

# The address is n3's own: whatever else is wrong with the token is what is complained of.
token() { # name of the node, file on n1, options
    local node=$1 file=$2
    shift 2
    at n1 clusterctl cluster join-token "$node" --token-file "$file" --force "$@"
}

refused() { # file on n3, exit status, words
    local words
    run at n3 clusterctl node join --token-file "$1" --wait=60
    echo "$output"
    [ "$status" -eq "$2" ] || return 1
    shift 2
    for words; do
        [[ $output == *"$words"* ]] || { echo "not in it: $words"; return 1; }
    done
    # Nothing of a cluster is on this node, and its agent is well.
    at n3 test ! -e /var/lib/ringmaster/identity.json
    at n3 test ! -e /var/lib/ringmaster/cluster.key
    run at n3 clusterctl vm list
    [ "$status" -eq 113 ]
}

# n3 leaves, with its slot, and is a node that was never in a cluster.
leave() {
    at n1 clusterctl node evict n3 --force --yes --wait=60
    at n3 systemctl stop ringmasterd corosync
    at n3 sh -c 'rm -rf /var/lib/ringmaster/*'
    at n3 systemctl start ringmasterd
    succeeds_within 30 at n3 sh -c 'clusterctl status; test $? -ne 69'
}

@test "a token that expires is made first" {
    token n3 /root/expires --valid 60
    leave
    carry /root/expires /root/expires
}

@test "a token of another node" {
    token n9 /root/other
    carry /root/other /root/other
    refused /root/other 113 "the join token is for node n9, this is n3" "remedy:"
}

@test "a token with a wrong secret" {
    token n3 /root/good
    carry /root/good /root/good
    at n3 sh -c 'umask 077; sed "s/\"secret\": *\"..../\"secret\": \"0000/" /root/good > /root/wrong'
    refused /root/wrong 77 "secret is wrong" "clusterctl cluster join-token"
}

@test "a token for the CA of another cluster" {
    at n3 sh -c 'umask 077; sed "s/\"ca_sha256\": *\"..../\"ca_sha256\": \"0000/" /root/good > /root/foreign'
    refused /root/foreign 113 "belongs to another cluster" "CA is not the one expected"
}

@test "no token at all" {
    at n3 sh -c 'umask 077; echo "{}" > /root/nonsense'
    refused /root/nonsense 64 "this is not a join token file" "clusterctl cluster join-token"
}

@test "a token that has expired" {
    succeeds_within 90 at n3 sh -c '[ $(($(date +%s) - $(stat -c %Y /root/expires))) -gt 62 ]'
    refused /root/expires 77 "the token has expired" "clusterctl cluster join-token"
}

@test "after all of them the right one is taken" {
    at n3 clusterctl node join --token-file /root/good --wait=60
    succeeds_within 60 online 3
}

@test "a token that was used" {
    leave
    refused /root/good 77 "the token was used already" "clusterctl cluster join-token"
    token n3 /root/again
    carry /root/again /root/again
    at n3 clusterctl node join --token-file /root/again --wait=60
    succeeds_within 60 online 3
}

@test "the key of another cluster's ring: that node is alone and says so, the others go on" {
    at n3 sh -c 'umask 077; cp -p /etc/corosync/authkey /root/authkey; head -c 256 /dev/urandom > /etc/corosync/authkey'
    at n3 systemctl restart corosync
    succeeds_within 60 online 2
    succeeds_within 60 at n3 sh -c 'clusterctl status > /root/status 2>&1; test $? -eq 106'
    run at n3 cat /root/status
    [[ $output == *"no quorum"* && $output == *"remedy:"* ]]
    run at n3 clusterctl cluster config set upgrade.executor /bin/true
    [ "$status" -eq 106 ]
    at n1 clusterctl cluster config set upgrade.executor "" # they still decide
    at n3 sh -c 'cp -p /root/authkey /etc/corosync/authkey'
    at n3 systemctl restart corosync
    succeeds_within 60 online 3
}
