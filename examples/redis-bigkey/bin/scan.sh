#!/bin/sh
# What one node says of itself, below 4 KB: version, append-only file, slow commands by key, largest keys.
# usage: scan.sh HOST:PORT     A node that cannot be read is an answer, too: {"node":…,"outcome":"connect_refused"}.
bin=$(dirname "$0"); . "$bin/common.sh"
KEYS_MAX=200000 # Keys whose size is asked for; a node with more is read in part, and says so.

use_node "$1"
answer=$(timeout 5 redis-cli -h "$host" -p "$port" PING 2>&1); status=$?
case $answer in
  *PONG*) outcome=ok;;
  *NOAUTH*|*WRONGPASS*|*NOPERM*) outcome=auth;;
  *"Connection refused"*) outcome=connect_refused;;
  *"timed out"*) outcome=connect_timeout;;
  *LOADING*) outcome=loading;;
  *"not known"*|*"resolve"*) outcome=no_such_host;;
  *) if [ "$status" = 124 ]; then outcome=no_answer; else outcome=not_redis; fi;;
esac
if [ "$outcome" != ok ]; then
  printf '{"node":"%s","outcome":"%s"}\n' "$host:$port" "$outcome"
  exit 0
fi

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
setting() { ask CONFIG GET "$1" | sed -n 2p; }

ask INFO all | tr -d '\r' > "$work/info"
role=$(sed -n 's/^role://p' "$work/info")
# Replicas of a cluster refer reads of keys to their master, and hold the same keys.
if [ "$role" = slave ]; then : > "$work/keys"; else ask_quoted --scan | head -n "$KEYS_MAX" > "$work/keys"; fi
sed 's/.*/MEMORY USAGE & SAMPLES 5/' "$work/keys" | timeout 120 redis-cli -h "$host" -p "$port" 2>/dev/null > "$work/bytes"
ask_quoted SLOWLOG GET 256 > "$work/slowlog"
# An error in between would shift the lines: better no sizes than wrong ones. A slow node may not get to all of them.
if grep -q '[^0-9]' "$work/bytes"; then : > "$work/bytes"; fi
keys_read=$(wc -l < "$work/bytes")
paste "$work/bytes" "$work/keys" | head -n "$keys_read" | sort -rn | head -n 8 > "$work/big"

awk -v node="$host:$port" -v role="$role" -v aof="$(setting appendonly)" -v stamps="$(setting aof-timestamp-enabled)" \
    -v slower_than="$(setting slowlog-log-slower-than)" -v keys="$(ask DBSIZE)" -v keys_read="$keys_read" \
    -v info="$work/info" -v big="$work/big" -f "$bin/slowlog.awk" -f "$bin/scan.awk" "$work/slowlog"
