// Finds why a fleet of nginx hosts answers 502.
//
//   skein run examples/nginx-502/nginx-502.js --yes --args '{"fleet":"DIR"}'
//
// Every host is read by its own agent, which answers with a record below 1 KB. This script only joins the records:
// a cause is named when both sides show it, the failures in nginx and their reason on a service, a support host or in
// the configuration. A reason without failures or failures without a reason give `unknown`.
export const meta = {
  name: 'nginx-502',
  description: 'Finds why a fleet of nginx hosts answers 502: scans every host, checks every service, joins the two and plans the repair',
  whenToUse: 'The rate of 502 answers jumped and the cause is not known',
  phases: [
    { title: 'Scan', detail: 'one agent per nginx host counts its 502s', model: 'haiku' },
    { title: 'Check', detail: 'one agent per service looks for pauses, waits, kills, restarts and locks', model: 'haiku' },
    { title: 'Verify', detail: 'load balancer, DNS, network and nginx configuration; joins both sides', model: 'haiku' },
    { title: 'Report', detail: 'summary and plan', model: 'opus' },
  ],
}

// Fewer failures than this are not enough to call a reason confirmed.
const HITS_MIN = 2
// Share of failures that single connections cause on any day, counted twice to be on the safe side.
const USUAL_RATE = 0.002
// Lines about a wait or an error of which a healthy service may have a few.
const LINES_MIN = 5

const TIMED = { type: 'array', minItems: 2, maxItems: 5 }
const SCAN_ANSWER = {
  type: 'object',
  required: ['record', 'requests', 'kinds', 'pairs'],
  properties: {
    record: {
      type: 'object',
      required: ['host', 'count', 'error_lines', 'per_minute', 'top_upstream', 'top_count'],
      properties: {
        host: { type: 'string' },
        count: { type: 'integer' },
        error_lines: { type: 'integer' },
        per_minute: { type: 'object', additionalProperties: { type: 'integer' } },
        top_upstream: { type: ['string', 'null'] },
        top_count: { type: 'integer' },
      },
    },
    requests: { type: 'integer' },
    kinds: { type: 'object', additionalProperties: TIMED },
    pairs: { type: 'array', items: TIMED },
  },
}
const CHECK_ANSWER = {
  type: 'object',
  required: ['host', 'port', 'seen', 'notes'],
  properties: {
    host: { type: 'string' },
    port: { type: 'integer' },
    seen: { type: 'object', additionalProperties: TIMED },
    notes: { type: 'array', items: { type: 'array', items: { type: 'string' } } },
  },
}
const SUPPORT_ANSWER = {
  type: 'object',
  required: ['host', 'changes', 'health', 'dns', 'loss'],
  properties: {
    host: { type: 'string' },
    changes: { type: 'array', items: { type: 'array', items: { type: 'string' } } },
    health: { type: ['array', 'null'] },
    dns: { type: ['array', 'null'] },
    loss: { type: ['object', 'null'] },
  },
}
const CONF_ANSWER = {
  type: 'object',
  required: ['host', 'read_timeout_s', 'timeout_as_502', 'nofile', 'connections', 'pool'],
  properties: {
    host: { type: 'string' },
    read_timeout_s: { type: 'integer' },
    timeout_as_502: { type: 'boolean' },
    nofile: { type: 'integer' },
    connections: { type: 'integer' },
    pool: { type: ['string', 'null'] },
  },
}
const INVENTORY = {
  type: 'object',
  required: ['now', 'window_start', 'hosts'],
  properties: {
    now: { type: 'string' },
    window_start: { type: 'string' },
    hosts: {
      type: 'array',
      items: {
        type: 'object',
        required: ['name', 'groups', 'addr'],
        properties: { name: { type: 'string' }, groups: { type: 'array', items: { type: 'string' } }, addr: { type: 'string' } },
      },
    },
  },
}
const REPORT_ANSWER = {
  type: 'object',
  required: ['summary', 'plan'],
  properties: { summary: { type: 'string' }, plan: { type: 'array', items: { type: 'string' } } },
}

const fleet = typeof args === 'string' ? args : args && args.fleet
if (typeof fleet !== 'string' || fleet === '') throw new Error('args.fleet must name the folder of the fleet: {"fleet":"DIR"}')

// ---- Scan: every nginx host, one record each.
phase('Scan')
const inventory = await agent(fleet, { agentType: 'inventory', label: 'read inventory', model: 'haiku', schema: INVENTORY })
if (inventory === null) throw new Error(`cannot read ${fleet}/inventory.json`)
const from = inventory.window_start.slice(0, 16)
const to = inventory.now.slice(0, 16)
const nginxHosts = namesOf('nginx')
const answers = await parallel(nginxHosts.map(host => () => agent(`${host} ${from} ${to} ${fleet}`,
  { agentType: 'scan', label: `scan ${host}`, model: 'haiku', schema: SCAN_ANSWER })))
const scans = answers.filter(answer => answer !== null)
const silent = nginxHosts.filter((_, i) => answers[i] === null)
const failures = joinScans(scans)
log(`scanned ${scans.length} of ${nginxHosts.length} nginx hosts: ${failures.total} 502s in ${failures.requests} requests`)
logAlike(scans)

// ---- Check: every service, because a slow service shows up as time-outs of its callers.
phase('Check')
const services = await recordsOf(namesOf('spring-boot'), 'check', 'check', CHECK_ANSWER)
log(`checked ${services.size} of ${namesOf('spring-boot').length} services`)

// ---- Verify: what services and nginx cannot know, and the configuration of the most and the least affected host.
phase('Verify')
const support = await recordsOf(namesOf('support'), 'support', 'verify', SUPPORT_ANSWER)
const stranger = failures.pairs.find(pair => pair.kind === 'refused' && isAddress(pair.addr) && nameOf(pair.addr) === null)
const configuration = await readConfiguration(stranger ? stranger.addr : '-')
const missing = await explainSilence()

const addresses = addressBook()
const reasons = [...fullGc(), ...starvedPools(), ...oomKills(), ...shortKeepalive(), ...expiredCertificates(),
  ...slowDependencies(), ...badConfiguration(), ...failedNames(), ...lossyNetwork(), ...fewDescriptors()]
const confirmed = reasons.filter(reason => reason.hits >= HITS_MIN).sort((a, b) => b.weight - a.weight || b.hits - a.hits)
const leads = reasons.filter(reason => reason.hits < HITS_MIN)
const finding = conclude()
log(`finding: ${finding.kind} ${finding.service || ''} ${finding.at || ''} (confidence ${finding.confidence})`)

// ---- Report: the one place for a stronger model; the definition decides whether it is one.
phase('Report')
const lines = [[finding.kind, finding.service || '-', finding.addr || '-', finding.at || '-'].join(' '), ...finding.evidence]
const report = await agent(lines.join('\n'), { agentType: 'report', label: 'report', model: 'opus', schema: REPORT_ANSWER })
if (report) log(report.summary)
log(budget.total === null ? `tokens used: ${budget.spent()}` : `tokens used: ${budget.spent()} of ${budget.total}`)

return {
  kind: finding.kind,
  service: finding.service,
  addr: finding.addr,
  at: finding.at,
  hosts: finding.hosts,
  second: finding.second,
  confidence: finding.confidence,
  // targeted and read count the nginx hosts; unread names every host, whatever its role, that was asked and gave no answer.
  coverage: {
    targeted: nginxHosts.length,
    read: scans.length,
    // outcome comes first so that a search for the text of scan records does not take these for one.
    unread: silent.map(host => ({ outcome: 'failed', host })),
  },
  evidence: finding.evidence,
  plan: report ? report.plan : ['no plan: the report agent gave no answer'],
  scan: scans.map(answer => answer.record),
}

// ---------------------------------------------------------------- reading

function namesOf(group) {
  return inventory.hosts.filter(host => host.groups.includes(group)).map(host => host.name)
}

/** One agent per host; those without an answer become silent. Gives a map from host to record. */
async function recordsOf(hosts, agentType, verb, schema) {
  const found = await parallel(hosts.map(host => () => agent(`${host} ${from} ${to} ${fleet}`,
    { agentType, label: `${verb} ${host}`, model: 'haiku', schema })))
  const records = new Map()
  hosts.forEach((host, i) => { if (found[i] === null) silent.push(host); else records.set(host, found[i]) })
  return records
}

async function readConfiguration(addr) {
  // Lack of file descriptors is a matter of the host's own configuration, so such a host is looked at first.
  const descriptors = answer => answer.kinds.emfile ? answer.kinds.emfile[0] : 0
  const ordered = scans.slice().sort((a, b) => descriptors(b) - descriptors(a) || b.record.count - a.record.count).map(answer => answer.record.host)
  const chosen = ordered.length > 1 ? [ordered[0], ordered[ordered.length - 1]] : ordered
  const [worst, best] = await parallel(chosen.map(host => () => agent(`${host} ${addr} ${fleet}`,
    { agentType: 'conf', label: `verify configuration of ${host}`, model: 'haiku', schema: CONF_ANSWER })))
  return { worst: worst || null, best: best || null }
}

/** What is missing on the silent hosts, one line each. */
async function explainSilence() {
  if (silent.length === 0) return []
  const text = await agent([fleet, ...silent].join('\n'), { agentType: 'unread', label: 'verify unread hosts', model: 'haiku' })
  return text === null ? silent.map(host => `${host}: no answer`) : text.trim().split('\n')
}

// ---------------------------------------------------------------- joining

/** Adds up the scans: failures by kind, and by kind and upstream. */
function joinScans(scans) {
  const kinds = new Map()
  const pairs = new Map()
  let total = 0
  let requests = 0
  for (const { record, requests: asked, kinds: byKind, pairs: byPair } of scans) {
    total += record.count
    requests += asked
    for (const [kind, [count, first]] of Object.entries(byKind)) addFailures(kinds, { kind, addr: null }, record.host, { count, first, last: first })
    for (const [kind, addr, count, first, last] of byPair) addFailures(pairs, { kind, addr }, record.host, { count, first, last })
  }
  return { total, requests, kinds, pairs: [...pairs.values()].sort((a, b) => b.count - a.count) }
}

function addFailures(sums, { kind, addr }, host, { count, first, last }) {
  const key = `${kind} ${addr}`
  if (!sums.has(key)) sums.set(key, noFailures(kind, addr))
  const sum = sums.get(key)
  sum.count += count
  sum.firsts.push(stamp(first))
  sum.byHost.set(host, { count, first: stamp(first), last: stamp(last) })
}

function noFailures(kind, addr) { return { kind, addr, count: 0, byHost: new Map(), firsts: [] } }

function pairOf(kind, addr) {
  return failures.pairs.find(pair => pair.kind === kind && pair.addr === addr) || noFailures(kind, addr)
}

function kindOf(kind) { return failures.kinds.get(`${kind} null`) || noFailures(kind, null) }

/** `02:47:23` of the window as `2026-11-20T02:47:23`; a window may run over midnight. */
function stamp(time) {
  return `${time.slice(0, 5) >= from.slice(11) ? from.slice(0, 10) : to.slice(0, 10)}T${time}`
}

function seconds(iso) { return Date.parse(`${iso}Z`) / 1000 }

function earliest(times, notBefore) {
  const fitting = times.filter(time => !notBefore || time >= notBefore).sort()
  return fitting.length ? fitting[0] : null
}

function isAddress(text) { return /^[0-9.]+:[0-9]+$/.test(text) }

function nameOf(addr) {
  const ip = addr.replace(/:\d+$/, '')
  const owners = inventory.hosts.filter(host => host.addr === ip)
  const owner = owners.find(host => host.groups.includes('spring-boot')) || owners[0]
  return owner ? owner.name : null
}

/** The address of every service as nginx calls it. */
function addressBook() {
  const book = new Map()
  for (const host of inventory.hosts) {
    const checked = services.get(host.name)
    const called = failures.pairs.find(pair => isAddress(pair.addr) && pair.addr.startsWith(`${host.addr}:`))
    book.set(host.name, called ? called.addr : `${host.addr}:${checked && checked.port ? checked.port : 8080}`)
  }
  return book
}

function seen(record, what) {
  const [count, first, last] = record.seen[what] || [0, null, null]
  return { count, first: first && stamp(first), last: last && stamp(last) }
}

function clock(iso) { return iso.slice(11) }

function hostsOf(sums) { return [...new Set(sums.flatMap(sum => [...sum.byHost.keys()]))].sort() }

function notesOf(record) {
  return record.notes.map(([time, logger, text]) => `${record.host} logged at ${time} (${logger}): "${text}"`)
}

// ---------------------------------------------------------------- reasons: each needs its own evidence on both sides

/** Pauses longer than the read timeout, and read timeouts of that service that follow them. */
function fullGc() {
  const limit = configuration.worst || configuration.best
  const found = []
  for (const [service, record] of services) {
    if (!record.full_gc) continue
    const pauses = record.full_gc.pauses.split(' ').map(text => ({ at: stamp(text.slice(0, 8)), ms: Number(text.slice(9)) }))
    const long = pauses.filter(pause => pause.ms >= (limit ? limit.read_timeout_s * 1000 : 1000))
    if (long.length === 0) continue
    const addr = addresses.get(service)
    const timeouts = pairOf('timeout', addr)
    const wait = limit ? limit.read_timeout_s : 60
    const end = seconds(long[long.length - 1].at) + long[long.length - 1].ms / 1000 + wait
    const early = timeouts.firsts.filter(first => seconds(first) <= end + 2)
    const joined = early.filter(first => long.some(pause => {
      const late = seconds(first) - seconds(pause.at)
      return late >= 0 && late <= pause.ms / 1000 + wait + 2
    }))
    const fits = early.length === 0 ? timeouts.firsts.every(first => first > long[0].at) : joined.length >= 0.8 * early.length
    const all = seen(record, 'full_gc')
    found.push({
      kind: 'fullgc', service, addr, at: long[0].at, hosts: hostsOf([timeouts]), weight: 1, hits: fits ? timeouts.count : 0,
      evidence: [
        `${service}: ${all.count} Full GC pauses (${record.full_gc.reason}) of up to ${(record.full_gc.max_ms / 1000).toFixed(1)} s from ${clock(long[0].at)} to ${clock(all.last)}, heap ${record.full_gc.heap}; one pause would not last, they come back to back`,
        `${timeouts.count} of the 502s are read timeouts of ${addr}; on ${joined.length} of ${timeouts.firsts.length} hosts the first one follows one of the first ${long.length} pauses`,
        ...(limit ? [`nginx gives up after ${limit.read_timeout_s} s${limit.timeout_as_502 ? ' and error_page turns that 504 into a 502' : ''}, so a longer pause is an error`] : []),
        ...notesOf(record),
      ],
    })
  }
  return found
}

/** Threads that wait for a connection and give up; one such line alone is a blip. */
function starvedPools() {
  const found = []
  for (const [service, record] of services) {
    const gaveUp = seen(record, 'pool_timeout')
    const waiting = seen(record, 'pool_waiting')
    if (gaveUp.count < LINES_MIN || waiting.count === 0) continue
    const addr = addresses.get(service)
    const timeouts = pairOf('timeout', addr)
    const at = earliest([...timeouts.firsts, waiting.first])
    found.push({
      kind: 'dbpool', service, addr, at, hosts: hostsOf([timeouts]), weight: 0, hits: timeouts.count,
      evidence: [
        `${service}: ${gaveUp.count} requests got no database connection from ${clock(gaveUp.first)} to ${clock(gaveUp.last)}, up to ${record.waiting_max} threads waited`,
        `${timeouts.count} of the 502s are read timeouts of ${addr}`,
        ...notesOf(record),
      ],
    })
  }
  return found
}

function oomKills() {
  const found = []
  for (const [service, record] of services) {
    const killed = seen(record, 'oom')
    if (killed.count === 0) continue
    const addr = addresses.get(service)
    const refused = pairOf('refused', addr)
    found.push({
      kind: 'oomkill', service, addr, at: killed.first, hosts: hostsOf([refused]), weight: 0, hits: refused.count,
      evidence: [
        `${service}: the kernel killed its Java process for want of memory at ${clock(killed.first)}`,
        `${refused.count} of the 502s are refused connections to ${addr}`,
      ],
    })
  }
  return found
}

function shortKeepalive() {
  const found = []
  for (const [service, record] of services) {
    const restart = seen(record, 'keepalive_cut')
    if (restart.count === 0) continue
    const addr = addresses.get(service)
    const closed = pairOf('premature', addr)
    found.push({
      kind: 'keepalive', service, addr, at: earliest(closed.firsts, restart.first) || restart.first, hosts: hostsOf([closed]), weight: 0, hits: closed.count,
      evidence: [
        `${service} restarted at ${clock(restart.first)} with keepAliveTimeout ${record.keepalive_ms[0]} ms instead of ${record.keepalive_ms[1]} ms`,
        `${closed.count} of the 502s are connections that ${addr} closed while nginx used them`,
      ],
    })
  }
  return found
}

function expiredCertificates() {
  const found = []
  for (const [service, record] of services) {
    const expired = seen(record, 'cert_expired')
    if (expired.count === 0) continue
    const addr = addresses.get(service)
    const refused = pairOf('cert', addr)
    found.push({
      kind: 'cert', service, addr, at: expired.first, hosts: hostsOf([refused]), weight: 0, hits: refused.count,
      evidence: [
        `${service}: its certificate expired at ${clock(expired.first)}`,
        `${refused.count} of the 502s are failed TLS handshakes with ${addr}`,
      ],
    })
  }
  return found
}

/** A service that waits for locks while others time out on it: the callers fail in nginx, the dependency is to blame. */
function slowDependencies() {
  const found = []
  for (const [service, record] of services) {
    const waits = seen(record, 'lock_wait')
    if (waits.count < LINES_MIN) continue
    const addr = addresses.get(service)
    const callers = [...services].filter(([, other]) => other.dependency && other.dependency.addr === addr && other.dependency.count >= LINES_MIN)
    if (callers.length === 0) continue
    const calls = callers.reduce((sum, [, other]) => sum + other.dependency.count, 0)
    const timeouts = callers.map(([name]) => pairOf('timeout', addresses.get(name))).filter(pair => pair.count > 0)
    const firstCall = earliest(callers.map(([, other]) => seen(other, 'dependency_timeout').first))
    found.push({
      kind: 'slowdep', service, addr, at: earliest([firstCall, ...timeouts.flatMap(pair => pair.firsts)]), hosts: hostsOf(timeouts), weight: 0, hits: shareOf('timeout', timeouts),
      evidence: [
        `${service}: ${waits.count} waits of up to ${(record.lock.max_ms / 1000).toFixed(1)} s for the row lock ${record.lock.on}, from ${clock(waits.first)}`,
        `${calls} calls to ${addr} timed out in ${callers.length} services: ${callers.map(([name]) => name).sort().join(', ')}`,
        `the 502s are read timeouts of these callers, none of which is slow by itself`,
      ],
    })
  }
  return found
}

/** A scan lists only its first pairs, so the share of these among the listed ones is applied to all of that kind. */
function shareOf(kind, chosen) {
  const listed = failures.pairs.filter(pair => pair.kind === kind).reduce((sum, pair) => sum + pair.count, 0)
  const some = chosen.reduce((sum, pair) => sum + pair.count, 0)
  return listed === 0 ? 0 : Math.round(kindOf(kind).count * some / listed)
}

/** nginx calls an address that belongs to no host of the inventory, and a change or the configuration says why. */
function badConfiguration() {
  const found = []
  const changes = [...support.values()].flatMap(record => record.changes.filter(([, added]) => added !== '' && nameOf(added) === null))
  const conf = [configuration.worst, configuration.best].find(conf => conf && conf.pool)
  const addrs = new Set(changes.map(([, added]) => added))
  if (stranger && conf) addrs.add(stranger.addr)
  for (const addr of addrs) {
    const change = changes.find(([, added]) => added === addr)
    const refused = pairOf('refused', addr)
    found.push({
      kind: 'badconfig', service: null, addr, at: change ? stamp(change[0]) : earliest(refused.firsts), hosts: hostsOf([refused]), weight: 0, hits: refused.count,
      evidence: [
        change ? `changed at ${change[0]}: "${change[2]}"` : `no change log names ${addr}`,
        `${refused.count} of the 502s are refused connections to ${addr}, which belongs to no host of the inventory${conf && stranger && stranger.addr === addr ? `; ${conf.pool} lists it on ${conf.host}` : ''}`,
      ],
    })
  }
  return found
}

function failedNames() {
  const server = [...support.values()].find(record => record.dns && record.dns[0] >= LINES_MIN)
  if (!server) return []
  const names = failures.pairs.filter(pair => pair.kind === 'resolve')
  const at = stamp(server.dns[1])
  const addr = names.length ? names[0].addr : null
  const most = names.length ? Math.max(...[...names[0].byHost.values()].map(some => some.count)) : 0
  // A host with a single lost query had a blip of its own.
  const hosts = names.length ? [...names[0].byHost].filter(([, some]) => some.count >= 0.2 * most).map(([host]) => host).sort() : []
  return [{
    kind: 'dns', service: null, addr, at, hosts, weight: 0, hits: names.length ? names[0].count : 0,
    evidence: [
      `${server.host}: ${server.dns[0]} queries failed from ${server.dns[1]} to ${server.dns[2]}`,
      `${kindOf('resolve').count} of the 502s happened because ${addr} could not be resolved, nearly all on ${foldHosts(hosts)}`,
    ],
  }]
}

function lossyNetwork() {
  const probe = [...support.values()].find(record => record.loss !== null)
  if (!probe) return []
  const [start, end] = probe.loss.rack.split('..')
  const rack = nginxHosts.filter(host => end ? host >= start && host <= end : host === start || start === 'all')
  const timeouts = kindOf('timeout')
  const inside = rack.reduce((sum, host) => sum + (timeouts.byHost.has(host) ? timeouts.byHost.get(host).count : 0), 0)
  const upstreams = failures.pairs.filter(pair => pair.kind === 'timeout').length
  const begun = stamp(probe.loss.first)
  // The probe measures once a minute, so failures may be seen up to a minute before its first row.
  const near = timeouts.firsts.filter(first => Math.abs(seconds(first) - seconds(begun)) <= 60)
  return [{
    kind: 'netjitter', service: null, addr: null, at: earliest([begun, ...near]), hosts: rack, weight: 0,
    hits: inside >= 0.8 * timeouts.count && upstreams >= 2 ? inside : 0,
    evidence: [
      `${probe.host}: loss of up to ${probe.loss.max} % for ${probe.loss.rack} from ${probe.loss.first} to ${probe.loss.last} (${probe.loss.where})`,
      `${inside} of ${timeouts.count} read timeouts are on these hosts, spread over ${upstreams} upstreams: no single service is slow`,
    ],
  }]
}

function fewDescriptors() {
  const refused = kindOf('emfile')
  if (refused.count === 0) return []
  const { worst, best } = configuration
  // Each proxied request needs two descriptors.
  const low = worst && worst.nofile > 0 && (worst.nofile < 2 * worst.connections || (best && worst.nofile < best.nofile))
  const hosts = hostsOf([refused])
  return [{
    kind: 'fdlimit', service: null, addr: null, at: earliest(refused.firsts), hosts, weight: 0,
    hits: low && hosts.includes(worst.host) ? refused.count : 0,
    evidence: [
      `${refused.count} of the 502s happened because ${foldHosts(hosts)} had too many open files`,
      worst ? `${worst.host}: worker_rlimit_nofile ${worst.nofile} for ${worst.connections} connections${best ? `, ${best.host}: ${best.nofile}` : ''}` : 'its configuration could not be read',
    ],
  }]
}

// ---------------------------------------------------------------- conclusion

function conclude() {
  const restarts = [...services].map(([service, record]) => restartOf(service, record)).filter(restart => restart !== null)
  const benign = restarts.reduce((sum, restart) => sum + restart.hits, 0)
  const rest = Math.max(0, failures.total - benign - USUAL_RATE * failures.requests)
  const explained = confirmed.slice(0, 2).reduce((sum, reason) => sum + reason.hits, 0)
  const evidence = [overview(), ...confirmed.slice(0, 2).flatMap(reason => reason.evidence)]
  const none = { kind: 'unknown', service: null, addr: null, at: null, hosts: null, second: null, confidence: 'low' }
  let result = none
  if (scans.length === 0) {
    evidence.push('no nginx host was read, so nothing is known')
  } else if (confirmed.length > 0 && explained >= 0.5 * rest) {
    const [first, other] = confirmed
    result = {
      kind: other ? 'two_causes' : first.kind,
      service: first.service,
      addr: first.addr,
      at: first.at,
      hosts: first.hosts,
      second: other ? { kind: other.kind, service: other.service, addr: other.addr, at: other.at } : null,
      // A reason that no failure confirms may still be a second cause that this hour hardly shows.
      confidence: confirmed.length > 2 || explained < 0.8 * rest ? 'low' : configuration.worst && leads.length === 0 ? 'high' : 'medium',
    }
  } else if (confirmed.length === 0 && leads.length === 0 && rest < 10) {
    result = { ...none, kind: 'no_fault', confidence: 'high' }
    evidence.push('no service, support host or configuration shows a reason, and the rate is the usual one')
  } else {
    evidence.push(confirmed.length > 0
      ? `that explains only ${explained} of about ${Math.round(rest)} unusual 502s`
      : `about ${Math.round(rest)} 502s are unusual and no reason could be confirmed on both sides`)
    evidence.push(...suspicions(restarts))
  }
  for (const lead of leads) evidence.push(`not confirmed by failures in nginx: ${lead.kind}: ${lead.evidence[0]}`)
  evidence.push(...ruledOut(restarts), ...missing.map(line => `not read: ${line}`))
  return { ...result, confidence: lowered(result), evidence }
}

/** A restart refuses connections for some seconds; that is known and no incident. What lasts longer is not explained by it. */
function restartOf(service, record) {
  const restart = seen(record, 'restart')
  if (restart.count === 0 || record.seen.keepalive_cut || record.seen.oom) return null
  const begun = seconds(restart.first)
  const brief = [...pairOf('refused', addresses.get(service)).byHost].filter(([, some]) => seconds(some.first) >= begun - 30 && seconds(some.last) <= begun + 120)
  return { service, at: restart.first, hits: brief.reduce((sum, [, some]) => sum + some.count, 0), hosts: brief.map(([host]) => host) }
}

/** What was not read lowers the confidence; when too much is missing, the absence of a fault is no finding. */
function lowered(result) {
  const share = silent.length / inventory.hosts.length
  if (silent.length === 0) return result.confidence
  if (result.confidence === 'high' && share < 0.1 && result.kind !== 'no_fault') return 'medium'
  return 'low'
}

function overview() {
  const rate = failures.requests ? (100 * failures.total / failures.requests).toFixed(1) : '0.0'
  const window = `${failures.total} 502s in ${failures.requests} requests (${rate} %) from ${clock(from)} to ${clock(to)} on ${scans.length} of ${nginxHosts.length} nginx hosts`
  const at = confirmed.length ? confirmed[0].at : null
  if (!at) return window
  const minute = at.slice(0, 16)
  let before = 0
  for (const { record } of scans) {
    for (const [time, count] of Object.entries(record.per_minute)) if (stamp(time) < minute) before += count
  }
  const span = Math.max(1, (seconds(`${minute}:00`) - seconds(`${from}:00`)) / 60)
  const left = Math.max(1, (seconds(`${to}:00`) - seconds(`${minute}:00`)) / 60)
  return `${window}; ${(before / span).toFixed(1)} a minute before ${clock(minute)}, ${((failures.total - before) / left).toFixed(1)} after`
}

/** Where the failures are when their reason is not known: an address is a place to look, not a verdict. */
function suspicions(restarts) {
  const restarted = pair => restarts.some(restart => pair.kind === 'refused' && pair.addr === addresses.get(restart.service) && restart.hits >= 0.8 * pair.count)
  const places = failures.pairs.filter(pair => !restarted(pair))
  const least = places.length ? Math.max(HITS_MIN, 0.1 * places[0].count) : HITS_MIN
  return places.slice(0, 3).filter(pair => pair.count >= least).map(pair => {
    const name = isAddress(pair.addr) ? nameOf(pair.addr) : null
    const unread = name !== null && silent.includes(name) ? `, whose logs could not be read` : ''
    return `place to look: ${pair.count} x ${pair.kind} of ${pair.addr}${name ? ` (${name}${unread})` : ''} on ${foldHosts([...pair.byHost.keys()].sort())}`
  })
}

function ruledOut(restarts) {
  const lines = restarts.map(restart => `not the cause: ${restart.service} restarted at ${clock(restart.at)}, ${restart.hits} refused connections on ${foldHosts(restart.hosts)}`)
  for (const [service, record] of services) {
    if (record.system_gc_ms !== undefined) lines.push(`not the cause: ${service} ran System.gc() for ${(record.system_gc_ms / 1000).toFixed(1)} s at ${record.seen.system_gc[1]}, asked for by its own code`)
    const gaveUp = seen(record, 'pool_timeout')
    if (gaveUp.count > 0 && gaveUp.count < LINES_MIN) lines.push(`not the cause: ${service} missed a database connection ${gaveUp.count === 1 ? 'once' : `${gaveUp.count} times`} at ${clock(gaveUp.first)}`)
  }
  return lines
}

/** "nginx-001 to nginx-020 (20)" instead of twenty names. */
function foldHosts(hosts) {
  if (hosts.length === 0) return 'no host'
  return hosts.length <= 4 ? hosts.join(', ') : `${hosts.length} hosts (${hosts[0]} to ${hosts[hosts.length - 1]})`
}

/** Equal answers in one line: "top upstream 10.20.2.23:8080 on 97 hosts, another on 3". */
function logAlike(scans) {
  const tops = new Map()
  for (const { record } of scans) tops.set(record.top_upstream, (tops.get(record.top_upstream) || 0) + 1)
  const [most] = [...tops].sort((a, b) => b[1] - a[1])
  if (most) log(`top upstream ${most[0] || 'none'} on ${most[1]} hosts, another on ${scans.length - most[1]}`)
}
