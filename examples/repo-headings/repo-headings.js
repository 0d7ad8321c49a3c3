// The headings of all Markdown files of a folder, as one tree per file.
//
//   skein run examples/repo-headings/repo-headings.js --yes --args '{"dir":"."}'
export const meta = {
  name: 'repo-headings',
  description: 'Collects the headings of all Markdown files of a folder, one agent per file',
  phases: [
    { title: 'List', detail: 'finds the Markdown files' },
    { title: 'Read', detail: 'one agent per file' },
  ],
}

const dir = typeof args === 'string' ? args : args && args.dir
if (typeof dir !== 'string' || dir === '') throw new Error('args.dir must name a folder: {"dir":"."}')

phase('List')
const listed = await agent(dir, { agentType: 'files', label: 'list files', model: 'haiku' })
if (listed === null) throw new Error(`cannot list ${dir}`)
const paths = linesOf(listed)
log(`${paths.length} Markdown files`)

phase('Read')
const read = await pipeline(
  paths,
  path => agent(`${dir}\n${path}`, { agentType: 'headings', label: path, model: 'haiku' }),
  (text, path) => ({ path, headings: headingsOf(text) }),
)
const answered = read.filter(file => file !== null)
const unread = paths.filter((_, i) => read[i] === null)
const result = {
  files: answered.map(({ path, headings }) => ({ path, headings: treeOf(headings) })),
  total: answered.reduce((sum, file) => sum + file.headings.length, 0),
}
// A file that could not be read is named, so that nobody takes it for a file without headings.
return unread.length === 0 ? result : { ...result, unread }

function linesOf(text) { return text.split('\n').filter(line => line !== '') }

/** The agent prints one heading per line: level, a tab, text. */
function headingsOf(text) {
  return linesOf(text).map(line => /^([1-6])\t(.*)$/s.exec(line)).filter(match => match !== null)
    .map(match => ({ level: Number(match[1]), text: match[2], children: [] }))
}

/** Nests each heading under the nearest one before it that has a smaller level. */
function treeOf(headings) {
  const root = { level: 0, children: [] }
  const open = [root]
  for (const heading of headings) {
    while (open[open.length - 1].level >= heading.level) open.pop()
    open[open.length - 1].children.push(heading)
    open.push(heading)
  }
  return root.children
}
