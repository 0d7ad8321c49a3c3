#!/bin/sh
# Reviews the orders in $1 and prints the record as JSON. A file without the header is no file of orders: what comes
# out then does not fit the schema, and that is how the caller learns of it.
set -eu
awk -F, '
  NR == 1 { if ($0 != "id,customer,amount") { printf "{\"error\":\"no header\"}\n"; bad = 1; exit } next }
  NF != 3 { problem("columns"); next }
  $3 !~ /^[0-9]+(\.[0-9]+)?$/ { problem("amount"); next }
  { rows++; sum += $3 }
  function problem(kind) { list = list (list == "" ? "" : ",") sprintf("{\"line\":%d,\"kind\":\"%s\"}", NR, kind) }
  END { if (!bad) printf "{\"rows\":%d,\"sum\":%.2f,\"problems\":[%s]}\n", rows, sum, list }' <"$1"
