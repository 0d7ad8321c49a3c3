#!/bin/sh
# Reduces the logs of one Spring Boot service to a record below 1 KB of what can make its callers see 502s.
# usage: check.sh 'SERVICE FROM TO FLEET'   FROM and TO like 2026-11-20T02:00; TO is not part of the window.
LC_ALL=C; export LC_ALL
host=${1%% *}; rest=${1#* }; from=${rest%% *}; rest=${rest#* }; to=${rest%% *}; fleet=${rest#* }
case $host in ''|.*|*[!A-Za-z0-9._-]*) echo "not a host name: $host" >&2; exit 2;; esac
cd -- "$fleet/hosts/$host" 2>/dev/null || { echo "no folder for $host" >&2; exit 3; }
logs=var/log/spring-boot
for log in "$logs/app.log" "$logs/gc.log"; do
  [ -f "$log" ] && [ -r "$log" ] || { echo "cannot read $log on $host" >&2; exit 3; }
done
set -- "$logs/app.log" "$logs/gc.log"
for optional in var/log/messages etc/spring-boot/application.yml; do [ -r "$optional" ] && set -- "$@" "./$optional"; done
exec awk -v from="$from" -v to="$to" -v host="$host" '
# Log text goes into JSON and is only ever quoted: keep a small alphabet and a small length.
function plain(text, max) { gsub(/[^A-Za-z0-9 .,:_()=>-]/, "?", text); return substr(text, 1, max) }
function number_after(text, start,   i) {
  i = index(text, start); return i ? substr(text, i + length(start)) + 0 : 0
}
function seen(what, time) { n[what]++; if (!(what in first)) first[what] = time; last[what] = time }
function list(what) { return sprintf("\"%s\":[%d,\"%s\",\"%s\"]", what, n[what], first[what], last[what]) }
BEGIN {
  split("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec", names, " ")
  for (i = 1; i <= 12; i++) month[names[i]] = sprintf("%02d", i)
  facts = split("full_gc system_gc starvation pool_waiting pool_timeout oom restart keepalive_cut cert_expired lock_wait dependency_timeout", fact, " ")
}
FILENAME ~ /application\.yml$/ { if (/port: *[0-9]/) port = number_after($0, "port:"); next }
FILENAME ~ /messages$/ {                          # the kernel writes no year: compare month, day and minute
  when = month[$1] "-" sprintf("%02d", $2) "T" substr($3, 1, 5)
  if (when < substr(from, 6) || when >= substr(to, 6)) next
  if (/ kernel: Out of memory: Killed process [0-9]+ \(java\)/) seen("oom", substr($3, 1, 8))
  next
}
FILENAME ~ /gc\.log$/ {
  when = substr($0, 2, 16)
  if (when < from || when >= to || !/ Pause Full \(/ || !/[0-9]ms\r?$/) next
  time = substr($0, 13, 8); ms = $NF + 0
  text = $0; sub(/.* Pause Full \(/, "", text); reason = text; sub(/\) [0-9]+[KMG]->.*/, "", reason)
  heap = substr(text, length(reason) + 3); sub(/ .*/, "", heap)
  if (reason == "System.gc()") { seen("system_gc", time); if (ms > system_ms) system_ms = ms; next }
  seen("full_gc", time); gc_reason = reason; gc_heap = heap
  if (ms > gc_max) gc_max = ms
  if (n["full_gc"] <= 12) pauses = pauses (pauses == "" ? "" : " ") time "+" int(ms + 0.5)
  next
}
{
  when = substr($0, 1, 10) "T" substr($0, 12, 5)
  if (when < from || when >= to) next
  i = index($0, " : "); if (!i) next
  head = substr($0, 1, i - 1); text = substr($0, i + 3); time = substr($0, 12, 8)
  words = split(head, word, " "); level = word[3]; class = word[words]
  if (text ~ / - Pool stats \(/) {
    waiting = number_after(text, "waiting=")
    if (waiting > 0) { seen("pool_waiting", time); if (waiting > waiting_max) waiting_max = waiting }
  } else if (text ~ /Connection is not available, request timed out after/) seen("pool_timeout", time)
  else if (text ~ /Thread starvation or clock leap detected/) seen("starvation", time)
  else if (text ~ /^Tomcat started on port/) {
    seen("restart", time); now_ms = number_after(text, "keepAliveTimeout="); was_ms = number_after(text, "(was ")
    if (now_ms > 0 && now_ms < was_ms) { seen("keepalive_cut", time); keepalive = now_ms " " was_ms }
  }
  else if (text ~ /certificate .*has expired/) seen("cert_expired", time)
  else if (text ~ /^waited [0-9]+ ms for row lock/) {
    seen("lock_wait", time); ms = number_after(text, "waited "); if (ms > lock_max) lock_max = ms
    lock_on = text; sub(/^.*row lock /, "", lock_on)
  } else if (text ~ /^call to https?:\/\/[^ ]* timed out after/) {
    seen("dependency_timeout", time); sub(/^call to https?:\/\//, "", text); sub(/[\/ ].*/, "", text); called[plain(text, 60)]++
  } else if (level == "WARN" || level == "ERROR") {   # anything else out of the ordinary, in case it explains the rest
    if (++notes <= 2) note[notes] = sprintf("[\"%s\",\"%s\",\"%s\"]", time, plain(class, 40), plain(text, 80))
  }
}
END {
  printf "{\"host\":\"%s\",\"port\":%d", host, port
  printf ",\"seen\":{"; separator = ""
  for (i = 1; i <= facts; i++) if (fact[i] in n) { printf "%s%s", separator, list(fact[i]); separator = "," }
  printf "},\"notes\":[%s]", note[1] (notes > 1 ? "," note[2] : "")
  if (n["full_gc"]) printf ",\"full_gc\":{\"reason\":\"%s\",\"max_ms\":%d,\"heap\":\"%s\",\"pauses\":\"%s\"}", plain(gc_reason, 40), gc_max, plain(gc_heap, 40), pauses
  if (n["system_gc"]) printf ",\"system_gc_ms\":%d", system_ms
  if (n["pool_waiting"]) printf ",\"waiting_max\":%d", waiting_max
  if (n["keepalive_cut"]) { split(keepalive, k, " "); printf ",\"keepalive_ms\":[%d,%d]", k[1], k[2] }
  if (n["lock_wait"]) printf ",\"lock\":{\"max_ms\":%d,\"on\":\"%s\"}", lock_max, plain(lock_on, 80)
  if (n["dependency_timeout"]) {
    top = ""; for (c in called) if (top == "" || called[c] > called[top] || (called[c] == called[top] && c < top)) top = c
    printf ",\"dependency\":{\"addr\":\"%s\",\"count\":%d}", top, called[top]
  }
  print "}"
}' "$@"
