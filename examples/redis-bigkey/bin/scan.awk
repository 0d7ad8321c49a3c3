# Makes the record of a node; slowlog.awk comes before it.
function text(value) { gsub(/\\/, "\\\\", value); gsub(/"/, "\\\"", value); gsub(/[\001-\037]/, "?", value); return "\"" substr(value, 1, 300) "\"" }
function number(value) { return value ~ /^-?[0-9]+$/ ? value : "null" }
# One group for a command on a key. A command on no key, such as KEYS, is a group with its pattern.
function entry(   group) {
  group = words[1] SUBSEP (count > 1 ? words[2] : "")
  if (words[1] ~ /^(MEMORY|OBJECT)$/ && count > 2) group = words[1] " " toupper(words[2]) SUBSEP words[3]
  entries[group]++; sum[group] += usec; durations[group, entries[group]] = usec
  if (usec > most[group]) most[group] = usec
  if (!(group in first) || when < first[group]) first[group] = when
  if (when > last[group]) last[group] = when
  if (reads_all()) all[group]++
}
function median(group,   i, j, n, swap, sorted) {
  n = entries[group]
  for (i = 1; i <= n; i++) sorted[i] = durations[group, i]
  for (i = 2; i <= n; i++) for (j = i; j > 1 && sorted[j - 1] > sorted[j]; j--) { swap = sorted[j]; sorted[j] = sorted[j - 1]; sorted[j - 1] = swap }
  return sorted[int((n + 1) / 2)]
}
END {
  finish()
  while ((getline line < info) > 0) {
    split(line, part, ":")
    if (part[1] == "redis_version") version = part[2]
    if (part[1] == "instantaneous_ops_per_sec") ops = part[2]
  }
  printf "{\"node\":%s,\"outcome\":\"ok\",\"version\":%s,\"role\":%s,\"keys\":%s,\"keys_read\":%s,\"ops\":%s,", text(node), text(version), text(role), number(keys), number(keys_read), number(ops)
  printf "\"aof\":%s,\"aof_timestamps\":%s,\"slower_than_us\":%s,\"slow\":[", text(aof), text(stamps), number(slower_than)
  for (n = 0; n < 8; n++) {
    best = ""
    for (group in sum) if (best == "" || sum[group] > sum[best] || (sum[group] == sum[best] && group < best)) best = group
    if (best == "") break
    split(best, part, SUBSEP)
    printf "%s{\"command\":%s,\"key\":%s,\"entries\":%d,\"whole\":%d,\"sum_us\":%d,\"median_us\":%d,\"max_us\":%d,\"first\":%d,\"last\":%d}", (n ? "," : ""), text(part[1]), text(part[2]), entries[best], all[best], sum[best], median(best), most[best], first[best], last[best]
    delete sum[best]
  }
  printf "],\"big\":["
  n = 0
  while ((getline line < big) > 0) {
    bytes = line; sub(/\t.*/, "", bytes); name = line; sub(/^[^\t]*\t"/, "", name); sub(/"$/, "", name)
    if (bytes ~ /^[0-9]+$/) printf "%s{\"key\":%s,\"bytes\":%s}", (n++ ? "," : ""), text(name), bytes
  }
  print "]}"
}
