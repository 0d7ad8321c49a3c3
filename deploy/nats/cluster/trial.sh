#!/bin/sh
# Three servers on loopback for a trial, until Ctrl-C. TRIAL_PORT is the first of the clients' ports [4221], TRIAL_ROUTES
# the first of those between servers [6221], NATS_STORE where data are [a new temporary folder], NATS_SERVER the program.
set -eu
cd "$(dirname "$0")"
clients=${TRIAL_PORT:-4221}
routes=${TRIAL_ROUTES:-6221}
store=${NATS_STORE:-$(mktemp -d)}
server=${NATS_SERVER:-nats-server}
for n in 1 2 3; do
  export "NATS_ROUTE_$n=nats-route://127.0.0.1:$((routes + n - 1))"
done
pids=""
for n in 1 2 3; do
  NATS_LISTEN=127.0.0.1:$((clients + n - 1)) NATS_CLUSTER_LISTEN=127.0.0.1:$((routes + n - 1)) \
    NATS_STORE=$store/node-$n "$server" -c "node-$n.conf" &
  pids="$pids $!"
done
# shellcheck disable=SC2086 # a list of processes
trap 'trap - INT TERM EXIT; kill $pids 2>/dev/null; wait' INT TERM EXIT
echo "data are in $store; Ctrl-C ends all three"
wait
