// Counts the TODO lines of every file of a folder, one agent per file, and sums up.
//
//   skein run examples/fan-out/fan-out.js --yes --args '{"dir":"."}'
export const meta = {
  name: 'fan-out',
  description: 'Counts the TODO lines of every file of a folder, one agent per file',
  phases: [{ title: 'List' }, { title: 'Count', detail: 'one agent per file' }],
}

if (typeof args?.dir !== 'string' || args.dir === '') throw new Error('args.dir must name a folder: {"dir":"."}')

phase('List')
const listed = await agent(args.dir, { agentType: 'list', label: 'list files' })
// Without the list there is nothing to do: better an error than "0 TODOs".
if (listed === null) throw new Error(`cannot list ${args.dir}`)
const files = listed.split('\n').filter(line => line !== '')

phase('Count')
// A barrier is right here: the sum needs every answer. Functions, so that `parallel` decides when each starts.
const counts = await parallel(files.map(file => () =>
  agent(`${args.dir}/${file}`, { agentType: 'count', label: file })))

const counted = files.map((file, i) => ({ file, todos: counts[i] })).filter(({ todos }) => todos !== null)
return {
  total: counted.reduce((sum, { todos }) => sum + Number(todos), 0),
  files: counted.map(({ file, todos }) => ({ file, todos: Number(todos) })).filter(({ todos }) => todos > 0),
  // Silence would read as "no TODO in it".
  unread: files.filter((_, i) => counts[i] === null),
}
