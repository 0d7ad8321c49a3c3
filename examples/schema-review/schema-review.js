// Reviews the rows of a CSV file in pieces. Answers must fit a schema; pieces whose answer does not are named.
//
//   skein run examples/schema-review/schema-review.js --yes --args '{"files":["orders-1.csv","orders-2.csv"]}'
export const meta = {
  name: 'schema-review',
  description: 'Reviews CSV files of orders with agents whose answers must fit a schema',
  phases: [{ title: 'Review', detail: 'one agent per file' }],
}

if (!Array.isArray(args?.files)) throw new Error('args.files must be a list of files: {"files":["orders.csv"]}')

// As narrow as the use of the value: what fits needs no check below.
const review = {
  type: 'object',
  required: ['rows', 'sum', 'problems'],
  additionalProperties: false,
  properties: {
    rows: { type: 'integer', minimum: 0 },
    sum: { type: 'number' },
    problems: {
      type: 'array',
      items: {
        type: 'object',
        required: ['line', 'kind'],
        properties: { line: { type: 'integer', minimum: 1 }, kind: { enum: ['columns', 'amount'] } },
      },
    },
  },
}

phase('Review')
// An answer that does not fit is null here, and the record says what was wrong with it (`skein agents RUN`).
const reviews = await parallel(args.files.map(file => () =>
  agent(file, { agentType: 'review', label: file, schema: review })))

const answered = reviews.filter(Boolean)
return {
  rows: answered.reduce((sum, { rows }) => sum + rows, 0),
  sum: answered.reduce((total, { sum }) => total + sum, 0),
  problems: args.files.flatMap((file, i) =>
    (reviews[i]?.problems ?? []).map(({ line, kind }) => `${file}:${line}: ${kind}`)),
  // Not counted as reviewed: half an answer is none.
  invalid: args.files.filter((_, i) => reviews[i] === null),
}
