export const meta = {
  name: 'redis-bigkey',
  description: 'Finds the big key that stalls a Redis cluster: who reads it, where, and what to do about it',
  whenToUse: 'The slowest requests of a Redis cluster got slow at once while the load stayed what it was',
  phases: [
    { title: 'Scan', detail: 'one agent per node: slow commands by key, largest keys', model: 'haiku' },
    { title: 'Suspect', detail: 'keys that are read as a whole, and large ones' },
    { title: 'Cross-check', detail: 'three independent agents per suspect', model: 'haiku' },
    { title: 'Report', detail: 'summary and plan', model: 'opus' },
  ],
}

// Each suspect costs three agents.
const SUSPECTS_MAX = 6
// Below this a key is not worth a look unless something reads it slowly.
const BIG_BYTES = 1024 * 1024
const CHECKS = ['memory', 'slowlog', 'clients']

const COUNT = { type: ['integer', 'null'] }
const TEXT = { type: ['string', 'null'] }
const SCAN_ANSWER = {
  type: 'object',
  required: ['node', 'outcome'],
  properties: {
    node: { type: 'string' },
    outcome: { type: 'string' },
    version: { type: 'string' },
    role: { type: 'string' },
    keys: COUNT,
    keys_read: COUNT,
    ops: COUNT,
    aof: { type: 'string' },
    aof_timestamps: { type: 'string' },
    slower_than_us: COUNT,
    slow: { type: 'array', items: { type: 'object', required: ['command', 'key', 'entries', 'whole', 'sum_us', 'median_us', 'max_us'] } },
    big: { type: 'array', items: { type: 'object', required: ['key', 'bytes'] } },
  },
}
const CHECK_ANSWER = {
  type: 'object',
  required: ['verdict', 'reason'],
  properties: {
    verdict: { enum: ['for', 'against', 'unclear'] },
    reason: { type: 'string' },
    type: TEXT,
    length: COUNT,
    bytes: COUNT,
    command: TEXT,
    per_second: { type: 'number' },
    clients: { type: 'array', items: { type: 'string' } },
  },
}
const REPORT_ANSWER = {
  type: 'object',
  required: ['summary', 'plan'],
  properties: { summary: { type: 'string' }, plan: { type: 'array', items: { type: 'string' } } },
}

const nodes = args && args.nodes
if (!Array.isArray(nodes) || nodes.length === 0 || !nodes.every(node => /^[A-Za-z0-9._:-]+:[0-9]+$/.test(node))) {
  throw new Error('args.nodes must list the nodes: {"nodes":["10.0.0.1:6379","10.0.0.2:6379"]}')
}
// What the person who asks takes for granted; each point is held against what was measured.
const question = args.question || {}

// ---- Scan: every node, one record each. A node that cannot be read says why.
phase('Scan')
const answers = await parallel(nodes.map(node => () => agent(node,
  { agentType: 'scan', label: `scan ${node}`, model: 'haiku', schema: SCAN_ANSWER, timeout: '3m' })))
const scans = answers.filter(answer => answer !== null && answer.outcome === 'ok')
const unread = nodes.flatMap((node, i) => answers[i] === null ? [{ node, outcome: 'failed' }]
  : answers[i].outcome === 'ok' ? [] : [{ node, outcome: answers[i].outcome }])
log(`read ${scans.length} of ${nodes.length} nodes`)
for (const { node, outcome } of unread) log(`not read: ${node} (${outcome})`)

// ---- Suspect: first what is read as a whole and slowly, by the time it takes; then what is only large.
phase('Suspect')
const partly = scans.filter(scan => scan.role !== 'slave' && scan.keys_read < scan.keys)
const suspects = findSuspects()
const alsoSlow = scans.flatMap(scan => scan.slow.filter(group => group.whole === 0)
  .map(({ command, key, entries, max_us }) => ({ node: scan.node, command: `${command} ${key}`.trim(), entries, max_us })))
log(`${suspects.length} suspects`, suspects.map(suspect => suspect.key))

// ---- Cross-check: three agents that know nothing of each other; none of them is enough to convict.
phase('Cross-check')
const checked = await pipeline(suspects, async suspect => {
  const prompt = [suspect.node, suspect.command, suspect.key].join('\n')
  const given = await parallel(CHECKS.map(check => () => agent(prompt,
    { agentType: check, label: `${check} of ${suspect.key}`, model: 'haiku', schema: CHECK_ANSWER, timeout: '2m' })))
  return { ...suspect, checks: Object.fromEntries(CHECKS.map((check, i) => [check, given[i]])) }
})
const finding = conclude()
const corrections = correct()
for (const correction of corrections) log(`the question is wrong: ${correction}`)
log(`finding: ${finding.kind} ${finding.key || ''} (confidence ${finding.confidence})`)

// ---- Report: the one place for a stronger model; the definition decides whether it is one.
phase('Report')
const lines = [
  [finding.kind, finding.type || '-', finding.command || '-', finding.node || '-', finding.clients[0] || '-'].join(' '),
  finding.key || '-', ...finding.evidence, ...corrections,
]
const report = await agent(lines.join('\n'), { agentType: 'report', label: 'report', model: 'opus', schema: REPORT_ANSWER })
if (report) log(report.summary)

return {
  ...finding,
  coverage: { targeted: nodes.length, read: scans.length, unread, partly: partly.map(scan => scan.node) },
  corrections,
  innocent: innocent(),
  also_slow: alsoSlow,
  summary: report ? report.summary : null,
  plan: report ? report.plan : ['no plan: the report agent gave no answer'],
  checks: checked.map(({ node, key, command, checks }) => ({ node, key, command, checks })),
}

// ---------------------------------------------------------------- suspecting

function findSuspects() {
  const slow = scans.flatMap(scan => scan.slow.filter(group => group.whole > 0 && group.key !== '')
    .map(group => ({ node: scan.node, key: group.key, command: group.command, group })))
  slow.sort((a, b) => b.group.sum_us - a.group.sum_us)
  const known = new Set(slow.map(({ node, key }) => `${node} ${key}`))
  const large = scans.flatMap(scan => scan.big.filter(({ key, bytes }) => bytes >= BIG_BYTES && !known.has(`${scan.node} ${key}`))
    .map(({ key, bytes }) => ({ node: scan.node, key, bytes, command: '-', group: null })))
  large.sort((a, b) => b.bytes - a.bytes)
  return [...slow, ...large].slice(0, SUSPECTS_MAX)
}

// ---------------------------------------------------------------- concluding

function verdictOf(suspect, check) {
  const answer = suspect.checks[check]
  return answer === null ? 'no answer' : answer.verdict
}

/** It is read slowly, nothing speaks against it, and a second check agrees. */
function isGuilty(suspect) {
  const verdicts = CHECKS.map(check => verdictOf(suspect, check))
  return verdictOf(suspect, 'slowlog') === 'for' && !verdicts.includes('against') && verdicts.filter(it => it === 'for').length >= 2
}

function conclude() {
  const guilty = checked.filter(suspect => suspect !== null && isGuilty(suspect))
  const none = { key: null, type: null, elements: null, bytes: null, command: null, node: null, clients: [] }
  if (guilty.length === 0) {
    const isQuiet = unread.length === 0 && checked.every(suspect => suspect !== null && verdictOf(suspect, 'slowlog') === 'against')
    const evidence = [...unread.map(({ node, outcome }) => `${node} was not read: ${outcome}`), ...checked.flatMap(reasons)]
    if (isQuiet) evidence.push('no node has a slow read of a whole key')
    return { kind: isQuiet ? 'no_fault' : 'unknown', ...none, confidence: 'low', evidence }
  }
  const worst = guilty[0]
  const { memory, slowlog, clients } = worst.checks
  const whole = CHECKS.every(check => verdictOf(worst, check) === 'for')
  const confidence = !whole ? 'low' : unread.length > 0 || partly.length > 0 ? 'medium' : 'high'
  const evidence = reasons(worst)
  for (const other of guilty.slice(1)) evidence.push(`a second key is read like this: ${other.key} by ${other.command} on ${other.node}`)
  for (const { node, outcome } of unread) evidence.push(`not known: ${node} was not read (${outcome})`)
  return {
    kind: 'big_key',
    key: worst.key,
    type: memory ? memory.type : null,
    elements: memory ? memory.length : null,
    bytes: memory ? memory.bytes : null,
    command: slowlog.command || worst.command,
    node: worst.node,
    clients: [...new Set([...(slowlog.clients || []), ...(clients ? clients.clients || [] : [])])],
    confidence,
    evidence,
  }
}

function reasons(suspect) {
  if (suspect === null) return ['a suspect could not be checked']
  return CHECKS.map(check => {
    const answer = suspect.checks[check]
    return `${suspect.key} on ${suspect.node}: ${check} ${answer === null ? 'gave no answer' : `speaks ${answer.verdict === 'for' ? 'for it' : answer.verdict === 'against' ? 'against it' : 'neither way'}: ${answer.reason}`}`
  })
}

/** Large keys that nobody reads slowly, so that nobody splits them in a hurry. */
function innocent() {
  return checked.filter(suspect => suspect !== null && verdictOf(suspect, 'slowlog') === 'against')
    .map(suspect => ({ node: suspect.node, key: suspect.key, why: 'large, but no slow command names it' }))
}

// ---------------------------------------------------------------- correcting the question

function correct() {
  const wrong = []
  if (question.source === 'aof') wrong.push(...whatAofCannotSay())
  const { reads_per_second: rate, read_ms: ms } = question
  if (Number.isFinite(rate) && Number.isFinite(ms) && rate * ms > 1000) wrong.push(rateThatCannotBe(rate, ms))
  const ops = scans.reduce((sum, scan) => sum + (scan.ops || 0), 0)
  if (Number.isFinite(question.qps) && scans.length > 0 && question.qps > 2 * ops) {
    wrong.push(`${question.qps} commands a second: the nodes that were read count ${ops} a second now`)
  }
  if (finding.kind === 'big_key') {
    for (const name of ['key', 'command']) {
      if (typeof question[name] === 'string' && question[name] !== finding[name]) {
        wrong.push(`${name} ${question[name]}: the measurements name ${finding[name]}`)
      }
    }
  }
  return wrong
}

function whatAofCannotSay() {
  const read = finding.command ? `${finding.command} ${finding.key}` : 'a read'
  const wrong = [`an append-only file holds writes only, so ${read} is not in it; SLOWLOG has the reads`]
  const old = scans.filter(scan => Number(scan.version.split('.')[0]) < 7).length
  const off = scans.filter(scan => scan.aof !== 'yes').length
  const unstamped = scans.length - old - scans.filter(scan => Number(scan.version.split('.')[0]) >= 7 && scan.aof_timestamps === 'yes').length
  if (off > 0) wrong.push(`${off} of ${scans.length} nodes write no append-only file`)
  if (old > 0) wrong.push(`${old} of ${scans.length} nodes are older than 7.0, whose append-only file has no time stamps`)
  if (unstamped > 0) wrong.push(`${unstamped} of ${scans.length} nodes write no time stamps into it (aof-timestamp-enabled)`)
  return wrong
}

/** A node carries out one command at a time, so a second has room for a second of them. */
function rateThatCannotBe(rate, ms) {
  const most = n => (1000 / n).toFixed(1)
  const text = `${rate} reads a second of ${ms} ms each are ${(rate * ms / 1000).toFixed(1)} s of work in each second of one thread; at ${ms} ms at most ${most(ms)} can be`
  const worst = checked.find(suspect => suspect !== null && suspect.key === finding.key && suspect.node === finding.node)
  if (!worst || !worst.group || !worst.group.median_us) return text
  const median = Math.max(worst.group.median_us / 1000, 0.001)
  return `${text}; measured: ${median.toFixed(0)} ms (median), so at most ${most(median)}, and ${worst.checks.slowlog.per_second} a second in SLOWLOG`
}
