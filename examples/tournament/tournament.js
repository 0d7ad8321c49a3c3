// Lets files compete in pairs before a judge until one remains: which text is the plainest?
//
//   skein run examples/tournament/tournament.js --yes --args '{"files":["a.md","b.md","c.md"]}'
export const meta = {
  name: 'tournament',
  description: 'Compares files in pairs until one remains',
  phases: [{ title: 'Judge', detail: 'one agent per pair' }],
}

if (!Array.isArray(args?.files) || args.files.length === 0) throw new Error('args.files must be a list of files')

phase('Judge')
const rounds = []
let standing = args.files
while (standing.length > 1) {
  const round = rounds.length + 1
  const winners = await parallel(pairsOf(standing).map(pair => () => winnerOf(pair, round)))
  rounds.push(winners)
  standing = winners
}
return { winner: standing[0], rounds }

/** Two and two; the last of an odd number goes on without a match. */
function pairsOf(list) {
  return list.flatMap((file, i) => (i % 2 === 0 ? [list.slice(i, i + 2)] : []))
}

async function winnerOf([left, right], round) {
  if (right === undefined) return left
  const verdict = await agent(`${left}\n${right}`, { agentType: 'judge', label: `round ${round}: ${left} : ${right}` })
  if (verdict === left || verdict === right) return verdict
  // Every pair must give one that goes on, or the tournament has no end: a judge who is silent leaves it to the seed.
  log(`round ${round}: no verdict on ${left} : ${right}, drawn by lot`)
  return random() < 0.5 ? left : right
}
