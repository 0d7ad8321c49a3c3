#!/bin/sh
# Reduces one support host (load balancer, DNS, network probe) to what changed or failed in the window.
# usage: support.sh 'HOST FROM TO FLEET'   FROM and TO like 2026-11-20T02:00; TO is not part of the window.
LC_ALL=C; export LC_ALL
host=${1%% *}; rest=${1#* }; from=${rest%% *}; rest=${rest#* }; to=${rest%% *}; fleet=${rest#* }
case $host in ''|.*|*[!A-Za-z0-9._-]*) echo "not a host name: $host" >&2; exit 2;; esac
cd -- "$fleet/hosts/$host/var/log" 2>/dev/null || { echo "no log folder on $host" >&2; exit 3; }
set --
for log in lb/changes.log lb/health.log named/query-errors.log smokeping/loss.log; do [ -r "$log" ] && set -- "$@" "$log"; done
[ $# -gt 0 ] || { echo "no log that this program knows on $host" >&2; exit 3; }
exec awk -v from="$from" -v to="$to" -v host="$host" '
function plain(text, max) { gsub(/[^A-Za-z0-9 .,:_()>-]/, "?", text); return substr(text, 1, max) }
function value_of(name,   text, i) {
  i = index($0, " " name "="); if (!i) return ""
  text = substr($0, i + length(name) + 2); sub(/ .*/, "", text); return text
}
{ when = substr($0, 1, 16); if (when < from || when >= to) next; time = substr($0, 12, 8) }
FILENAME ~ /changes\.log$/ {
  text = $0; if (!sub(/^.* change: /, "", text)) next
  added = ""; if (match(text, /^add [0-9.]+:[0-9]+ to /)) added = substr(text, 5, RLENGTH - 8)
  if (++changes <= 3) change[changes] = sprintf("[\"%s\",\"%s\",\"%s\"]", time, added, plain(text, 100))
  next
}
FILENAME ~ /health\.log$/ { if (/-> timeout/ && index($4, ":")) failed[plain($3, 40)]++; next }
FILENAME ~ /query-errors\.log$/ {
  if (/recovered/) { recovered++; next }          # one lost query that was answered on the next try harms nobody
  dns++; if (dns == 1) dns_first = time; dns_last = time
  next
}
FILENAME ~ /loss\.log$/ {
  loss = value_of("loss") + 0; if (loss < 1) next
  lossy++; if (lossy == 1) { loss_first = time; rack = value_of("rack") }
  loss_last = time; if (loss > loss_max) loss_max = loss
  where = $0; if (!sub(/^.* port=/, "", where)) where = ""
}
END {
  printf "{\"host\":\"%s\",\"changes\":[", host
  for (i = 1; i <= changes && i <= 3; i++) printf "%s%s", (i > 1 ? "," : ""), change[i]
  top = ""; for (f in failed) if (top == "" || failed[f] > failed[top] || (failed[f] == failed[top] && f < top)) top = f
  printf "],\"health\":%s", (top == "" ? "null" : sprintf("[\"%s\",%d]", top, failed[top]))
  printf ",\"dns\":%s", (dns ? sprintf("[%d,\"%s\",\"%s\"]", dns, dns_first, dns_last) : "null")
  printf ",\"loss\":%s}\n", (lossy ? sprintf("{\"rows\":%d,\"first\":\"%s\",\"last\":\"%s\",\"max\":%.1f,\"rack\":\"%s\",\"where\":\"%s\"}", lossy, loss_first, loss_last, loss_max, plain(rack, 80), plain(where, 60)) : "null")
}' "$@"
