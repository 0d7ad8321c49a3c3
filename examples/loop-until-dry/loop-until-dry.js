// Follows the links of a page to every page that can be reached, until two rounds in a row find nothing new.
//
//   skein run examples/loop-until-dry/loop-until-dry.js --yes --args '{"dir":"docs","start":"index.md"}'
export const meta = {
  name: 'loop-until-dry',
  description: 'Searches a folder of linked pages until two rounds in a row find nothing new',
  phases: [{ title: 'Search', detail: 'several searchers a round' }],
}

const { dir, start } = args ?? {}
if (typeof dir !== 'string' || typeof start !== 'string') throw new Error('args: {"dir":"docs","start":"index.md"}')

// Searchers that look differently find different things; one that misses something may hit it in the next round.
const searchers = ['links', 'mentions']
const DRY_ROUNDS = 2
// A bound of its own, since "nothing new" is up to the agents.
const ROUNDS_MAX = 50

phase('Search')
const known = new Set([start])
const rounds = []
let dry = 0
while (dry < DRY_ROUNDS && rounds.length < ROUNDS_MAX) {
  const round = rounds.length + 1
  const before = known.size
  const found = await parallel(searchers.map(how => () =>
    // What is known goes into the prompt, sorted: the same set is the same prompt.
    agent([how, dir, ...[...known].sort()].join('\n'), { agentType: 'search', label: `${how}, round ${round}` })))
  for (const text of found.filter(Boolean)) {
    for (const page of text.split('\n').filter(line => line !== '')) known.add(page)
  }
  rounds.push(known.size - before)
  // A round without any answer has shown nothing: it must not count as dry.
  if (found.every(text => text === null)) throw new Error(`round ${round}: no searcher answered`)
  dry = known.size === before ? dry + 1 : 0
  log(`round ${round}: ${known.size - before} new`)
}

return { pages: [...known].sort(), rounds, complete: dry === DRY_ROUNDS }
