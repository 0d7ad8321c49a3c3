#!/bin/sh
# Reads what matters here in the nginx configuration of one host, and which pools list an address.
# usage: conf.sh 'HOST ADDR FLEET'   ADDR like 10.20.9.99:8080, or - for none.
LC_ALL=C; export LC_ALL
host=${1%% *}; rest=${1#* }; addr=${rest%% *}; fleet=${rest#* }
case $host in ''|.*|*[!A-Za-z0-9._-]*) echo "not a host name: $host" >&2; exit 2;; esac
cd -- "$fleet/hosts/$host/etc/nginx" 2>/dev/null || { echo "no nginx configuration on $host" >&2; exit 3; }
[ -r nginx.conf ] || { echo "cannot read nginx.conf on $host" >&2; exit 3; }
set -- nginx.conf
[ -r conf.d/upstream.conf ] && set -- "$@" conf.d/upstream.conf
exec awk -v addr="$addr" -v host="$host" '
function amount(   text) { text = $0; sub(/.*(nofile|connections|timeout)[ \t]+/, "", text); return text + 0 }
{ sub(/#.*/, "") }
/worker_rlimit_nofile/ { nofile = amount() }
/worker_connections/ { connections = amount() }
/^[ \t]*proxy_read_timeout/ && !read_timeout { read_timeout = amount() }
/error_page[^;]*504[^;]*=502/ { as_502 = 1 }
$1 == "upstream" { pool = $2 }
$1 == "server" && addr != "-" && ($2 == addr || $2 == addr ";") { gsub(/[^A-Za-z0-9_.-]/, "?", pool); listed = pool }
END {
  printf "{\"host\":\"%s\",\"read_timeout_s\":%d,\"timeout_as_502\":%s,\"nofile\":%d,\"connections\":%d,\"pool\":%s}\n", \
    host, (read_timeout ? read_timeout : 60), (as_502 ? "true" : "false"), nofile, connections, (listed == "" ? "null" : "\"" listed "\"")
}' "$@"
