// Finds what looks like a password in configuration files, and lets a second agent look at every find.
//
//   skein run examples/pipeline-verify/pipeline-verify.js --yes --args '{"files":["app.conf","db.conf"]}'
export const meta = {
  name: 'pipeline-verify',
  description: 'Finds what looks like a password in configuration files and verifies each find with a second agent',
  phases: [{ title: 'Find', detail: 'one agent per file' }, { title: 'Verify', detail: 'one agent per find' }],
}

if (!Array.isArray(args?.files)) throw new Error('args.files must be a list of files: {"files":["app.conf"]}')

// A pipeline, because each file has its own way: the finds of the first are verified while the last is still searched.
const reports = await pipeline(args.files, find, verify)

return {
  confirmed: reports.filter(Boolean).flatMap(report => report.confirmed),
  rejected: reports.filter(Boolean).flatMap(report => report.rejected),
  // A verifier that gave no answer has not refuted anything.
  unverified: reports.filter(Boolean).flatMap(report => report.unverified),
  unread: args.files.filter((_, i) => reports[i] === null),
}

/** Gives null when the file cannot be read, which ends the item. */
async function find(file) {
  const text = await agent(file, { agentType: 'find', label: file, phase: 'Find' })
  return text === null ? null : text.split('\n').filter(line => line !== '').map(Number)
}

async function verify(lines, file) {
  // `opts.phase`, since items are in different stages at the same time and `phase()` is one for all of them.
  const verdicts = await parallel(lines.map(line => () =>
    agent(`${file}\n${line}`, { agentType: 'verify', label: `${file}:${line}`, phase: 'Verify' })))
  const places = verdict => lines.filter((_, i) => verdicts[i] === verdict).map(line => `${file}:${line}`)
  return { confirmed: places('real'), rejected: places('placeholder'), unverified: places(null) }
}
