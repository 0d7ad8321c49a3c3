#!/bin/sh
# Reduces one nginx host to a record below 1 KB: the 502s of the window, by minute, by upstream and by kind of failure.
# usage: scan.sh 'HOST FROM TO FLEET'   FROM and TO like 2026-11-20T02:00; TO is not part of the window.
# Only the current files count: a rotated error.log.1 belongs to an older incident.
LC_ALL=C; export LC_ALL
host=${1%% *}; rest=${1#* }; from=${rest%% *}; rest=${rest#* }; to=${rest%% *}; fleet=${rest#* }
case $host in ''|.*|*[!A-Za-z0-9._-]*) echo "not a host name: $host" >&2; exit 2;; esac
cd -- "$fleet/hosts/$host/var/log/nginx" 2>/dev/null || { echo "no nginx log folder on $host" >&2; exit 3; }
for log in access.log error.log; do
  [ -f "$log" ] && [ -r "$log" ] || { echo "cannot read $log on $host" >&2; exit 3; }
done
exec awk -v from="$from" -v to="$to" -v host="$host" '
function kind_of(message) {
  if (message ~ /could not be resolved/) return "resolve"
  if (message ~ /upstream timed out/) return "timeout"
  if (message ~ /Connection refused/) return "refused"
  if (message ~ /prematurely closed/) return "premature"
  if (message ~ /Too many open files/) return "emfile"
  if (message ~ /SSL_do_handshake/) return "cert"
  return "other"
}
# What stood between "start" and "stop" in "text"; nothing when "start" is missing.
function between(text, start, stop,   i) {
  i = index(text, start); if (!i) return ""
  text = substr(text, i + length(start)); i = index(text, stop)
  return i ? substr(text, 1, i - 1) : ""
}
# Log text goes into JSON and on to other programs: keep what addresses and names are made of.
function plain(text) { gsub(/[^A-Za-z0-9.:_\/, -]/, "?", text); return substr(text, 1, 100) }
BEGIN {
  split("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec", names, " ")
  for (i = 1; i <= 12; i++) month[names[i]] = sprintf("%02d", i)
  error_from = from; gsub("-", "/", error_from); error_to = to; gsub("-", "/", error_to)
}
FILENAME == "access.log" {
  i = index($0, "["); day = substr($0, i + 1, 11)
  if (day != seen_day) { seen_day = day; iso_day = substr(day, 8, 4) "-" month[substr(day, 4, 3)] "-" substr(day, 1, 2) }
  minute = substr($0, i + 13, 5); when = iso_day "T" minute
  if (when < from || when >= to) next
  requests++
  split($0, quoted, "\""); split(quoted[3], status, " ")
  if (status[1] != "502") next
  count++; per_minute[minute]++
  upstream = $0; sub(/.*ua="/, "", upstream); sub(/".*/, "", upstream)
  if (upstream != "-") upstreams[plain(upstream)]++
  awaited[substr($0, i + 13, 8) SUBSEP quoted[2]]++
  next
}
# error.log comes second: a line counts as the reason of a 502 only when access.log has that request in that second.
{
  when = substr($0, 1, 10) "T" substr($0, 12, 5)
  if (when < error_from || when >= error_to || !/ \[error\] /) next
  if (/upstream|resolved/) error_lines++
  time = substr($0, 12, 8); key = time SUBSEP between($0, "request: \"", "\"")
  if (!awaited[key]) next
  awaited[key]--
  message = $0; sub(/^[^*]*\*[0-9]+ /, "", message); sub(/, client: .*/, "", message)
  kind = kind_of(message); upstream = between($0, "upstream: \"", "\"")
  sub(/^https?:\/\//, "", upstream); sub(/\/.*/, "", upstream)
  if (kind == "resolve") { upstream = message; sub(/ could not be resolved.*/, "", upstream) }
  kinds[kind]++; if (!(kind in kind_first)) kind_first[kind] = time
  pair = kind "\t" plain(upstream == "" ? "-" : upstream)
  pairs[pair]++; if (!(pair in pair_first)) pair_first[pair] = time
  pair_last[pair] = time
}
END {
  printf "{\"record\":{\"host\":\"%s\",\"count\":%d,\"error_lines\":%d,\"per_minute\":{", host, count, error_lines
  separator = ""
  for (h = 0; h < 24; h++) for (m = 0; m < 60; m++) {
    minute = sprintf("%02d:%02d", h, m)
    if (minute in per_minute) { printf "%s\"%s\":%d", separator, minute, per_minute[minute]; separator = "," }
  }
  top = ""; top_count = 0
  for (u in upstreams) if (upstreams[u] > top_count || (upstreams[u] == top_count && u < top)) { top = u; top_count = upstreams[u] }
  printf "},\"top_upstream\":%s,\"top_count\":%d},\"requests\":%d,\"kinds\":{", (top == "" ? "null" : "\"" top "\""), top_count, requests
  separator = ""
  known = split("timeout refused premature resolve emfile cert other", kind_name, " ")
  for (i = 1; i <= known; i++) {
    k = kind_name[i]
    if (k in kinds) { printf "%s\"%s\":[%d,\"%s\"]", separator, k, kinds[k], kind_first[k]; separator = "," }
  }
  printf "},\"pairs\":["
  for (n = 0; n < 5; n++) {
    best = ""
    for (p in pairs) if (best == "" || pairs[p] > pairs[best] || (pairs[p] == pairs[best] && p < best)) best = p
    if (best == "") break
    split(best, part, "\t")
    printf "%s[\"%s\",\"%s\",%d,\"%s\",\"%s\"]", (n ? "," : ""), part[1], part[2], pairs[best], pair_first[best], pair_last[best]
    delete pairs[best]
  }
  print "]}"
}' access.log error.log
