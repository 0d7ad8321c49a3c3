# What the slow log has of one key; slowlog.awk comes before it, the key is in the environment.
function text(value) { gsub(/\\/, "\\\\", value); gsub(/"/, "\\\"", value); gsub(/[\001-\037]/, "?", value); return "\"" substr(value, 1, 100) "\"" }
function entry(   who) {
  total += usec
  if (count < 2 || words[2] != ENVIRON["key"]) return
  found++; sum += usec
  if (usec > most) most = usec
  if (!first || when < first) first = when
  if (when > last) last = when
  if (!reads_all()) return
  whole++; commands[words[1]]++
  who = client == "" ? address : client
  clients[who]++
}
END {
  finish()
  verdict = whole >= 3 ? "for" : found == 0 ? "against" : "unclear"
  seconds = last > first ? last - first : 1
  printf "{\"verdict\":\"%s\",\"reason\":\"%d slow entries in %d s, %d of them read the whole key; at most %d us; %d%% of all slow time\",", verdict, found, (found ? seconds : 0), whole, most, (total ? 100 * sum / total : 0)
  printf "\"command\":"; best = ""
  for (name in commands) if (best == "" || commands[name] > commands[best]) best = name
  printf "%s,\"per_second\":%.2f,\"clients\":[", (best == "" ? "null" : text(best)), (found ? whole / seconds : 0)
  for (n = 0; n < 5; n++) {
    best = ""
    for (who in clients) if (best == "" || clients[who] > clients[best] || (clients[who] == clients[best] && who < best)) best = who
    if (best == "") break
    printf "%s%s", (n ? "," : ""), text(best); delete clients[best]
  }
  print "]}"
}
