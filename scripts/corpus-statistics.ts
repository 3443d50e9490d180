/** Prints what the corpus holds, by source: `npm ci --prefix recipes/corpus`, then run this file. */

import { corpusFolder, corpusStatistics } from '../src/data/corpus.ts'

const columns = ['documents', 'characters', 'heldOutDocuments', 'heldOutCharacters'] as const
try {
  const rows = corpusStatistics(process.argv[2] ?? corpusFolder())
  const total = Object.fromEntries(columns.map((column) => [column, rows.reduce((sum, row) => sum + row[column], 0)]))
  console.table([...rows, { source: 'all', version: '', licence: '', ...total }])
} catch (error) {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
}
