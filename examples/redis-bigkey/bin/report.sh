#!/bin/sh
# Writes the summary and the plan for a finding as JSON. A model can take its place: see ../agents/report.md.
# usage: report.sh 'KIND TYPE COMMAND NODE CLIENT
# KEY
# EVIDENCE
# …'                 - stands for what is not known. Only the first two lines decide.
. "$(dirname "$0")/common.sh"
line=$(printf '%s\n' "$1" | sed -n '1{s/[^A-Za-z0-9 .:_-]/?/g;p;}')
read -r kind type command node client <<FINDING
$line
FINDING
key=$(printf '%s\n' "$1" | sed -n 2p)
plan=
step() { plan="$plan${plan:+,}$(quote "$1")"; }
case $type in
  hash) page=HSCAN pick="HMGET of the fields that are needed";;
  set) page=SSCAN pick="SISMEMBER or SRANDMEMBER";;
  zset) page=ZSCAN pick="ZRANGE with bounds";;
  list) page="LRANGE with bounds" pick="LINDEX";;
  *) page=GETRANGE pick="one key for each part";;
esac
case $kind in
big_key)
  summary="$command reads all of $key ($type) on $node, asked for by $client; each such read stops the node for everybody"
  step "now: stop or slow down the code of $client that sends $command $key; CLIENT KILL ends its connections"
  step "now: do not DEL the key, which stops the node once more; UNLINK frees it in the background"
  step "repair: read with $page, or $pick"
  step "repair: split the key by a part of its name, so that no part passes 10000 elements or 1 MB"
  step "prevent: an ACL without $command for this client; alert on SLOWLOG and on the size of keys";;
no_fault)
  summary="no slow command is recorded and no key is suspicious"
  step "now: look where the time goes outside of Redis: network, clients, connection pools"
  step "prevent: slowlog-log-slower-than 10000 and latency-monitor-threshold on each node";;
*)
  summary="the cause is not known: see the evidence for what is missing"
  step "now: make the nodes readable that are not, then run this again while it is slow"
  step "now: redis-cli --latency-history and LATENCY DOCTOR on the slow node";;
esac
printf '{"summary":%s,"plan":[%s]}\n' "$(quote "$summary")" "$plan"
