#!/bin/sh
# Writes the summary and the plan for a finding as JSON. A model can take its place: see ../agents/report.md.
# usage: report.sh 'KIND SERVICE ADDR AT
# EVIDENCE
# …'                 - stands for a value that is not known. Only the first line decides.
LC_ALL=C; export LC_ALL
line=$(printf '%s\n' "$1" | sed -n '1{s/[^A-Za-z0-9 .:_-]/?/g;p;}')
read -r kind service addr at <<FINDING
$line
FINDING
plan=
step() { plan="$plan${plan:+,}\"$1\""; }
case $kind in
fullgc)
  summary="$service ($addr) stops for seconds in Full GC after Full GC since $at: its heap stays full"
  step "now: take $service out of its pool, save a heap dump, restart it and put it back"
  step "repair: find what fills the heap in the dump (start with caches that have no limit) and bound it"
  step "prevent: alert on Full GC pauses and on heap use after collection; let the health check fail on pauses above the read timeout";;
two_causes)
  summary="two independent causes: Full GC pauses of $service ($addr) since $at and an exhausted connection pool of a second service"
  step "now: take $service out of its pool, save a heap dump, restart it and put it back"
  step "now: stop the job that holds the connections of the second service (see second)"
  step "repair: bound what fills the heap; give batch jobs a connection pool of their own"
  step "prevent: alert on Full GC pauses and on threads that wait for a connection";;
dbpool)
  summary="the database connections of $service ($addr) are used up since $at, so its requests wait until nginx gives up"
  step "now: stop the job or query that holds the connections of $service; restart it if they are not returned"
  step "repair: give batch jobs a pool of their own and a limit on parallel readers"
  step "prevent: connection-timeout below the read timeout of nginx; alert on waiting threads of the pool";;
oomkill)
  summary="the kernel killed the Java process of $service ($addr) at $at and nothing started it again"
  step "now: start $service again, or take $addr out of its pool until it runs"
  step "repair: fit heap, metaspace, threads and direct buffers of the JVM into the memory of the host"
  step "prevent: restart on failure; max_fails above 0 so that nginx leaves out a dead server";;
badconfig)
  summary="a change at $at added $addr to a pool, where nothing listens"
  step "now: take $addr out of the pool again and reload nginx"
  step "repair: find out which server the change meant and correct it in the source of the configuration"
  step "prevent: test that a new server answers before it is added; max_fails above 0";;
dns)
  summary="some nginx hosts cannot resolve $addr since $at"
  step "now: point the resolver of these hosts to a name server that answers, or restore the forwarder"
  step "repair: find why the forwarder of this rack times out"
  step "prevent: two resolvers for each host and a longer valid= for cached answers; alert on query errors";;
netjitter)
  summary="packet loss between one rack and the services since $at"
  step "now: take the nginx hosts of this rack out of the load balancer, or move the uplink to the other link"
  step "repair: replace the cable or optics of the uplink with the CRC errors"
  step "prevent: alert on loss and CRC errors by rack";;
keepalive)
  summary="$service ($addr) closes idle connections before nginx does since its restart before $at"
  step "now: set the keep-alive time of $service back to its former value and restart it"
  step "repair: keep the time of the service above keepalive_timeout of the upstream block in nginx"
  step "prevent: review time-outs of both sides together at each release";;
fdlimit)
  summary="some nginx hosts run out of file descriptors since $at"
  step "now: raise worker_rlimit_nofile on these hosts and reload nginx"
  step "repair: roll out the same nginx.conf to all hosts; at least two descriptors for each connection"
  step "prevent: compare configuration between hosts regularly; alert on open files";;
cert)
  summary="the certificate of $service ($addr) expired at $at and nginx refuses the connection"
  step "now: install a new certificate on $service and restart its connector"
  step "repair: make the renewal automatic"
  step "prevent: alert 14 days before a certificate ends";;
slowdep)
  summary="a pool waits for $service ($addr), which waits for row locks since $at"
  step "now: stop the job that holds the row locks on $service"
  step "repair: let the job work in small transactions outside of busy hours"
  step "prevent: time-outs and a circuit breaker in the callers; alert on lock waits";;
no_fault)
  summary="no fault: the 502s of this hour are the usual rate and explained single events"
  step "nothing to repair; keep the evidence for comparison";;
*)
  summary="the cause is not known"
  step "read what is named as unread and the leads in the evidence, then run this again"
  step "do not restart services on suspicion: it removes the evidence";;
esac
printf '{"summary":"%s","plan":[%s]}\n' "$summary" "$plan"
