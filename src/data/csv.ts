/**
 * The rows of a table of comma-separated values (RFC 4180): a field in quotes may hold commas, line ends, and quotes
 * written twice. The first row names the columns.
 *
 * @throws Error in one sentence where a quote is not closed, or a row has another number of fields than the first
 */
export function parseCsv(text: string, name = 'the table'): Record<string, string>[] {
  const [header, ...rows] = rowsOf(text.replace(/^\uFEFF/, ''), name)
  if (!header) throw new Error(`${name}: is empty`)
  return rows.map((row, i) => {
    if (row.length !== header.length) {
      throw new Error(`${name}: row ${i + 2} has ${row.length} fields, and the first has ${header.length}`)
    }
    return Object.fromEntries(header.map((column, j) => [column, row[j]]))
  })
}

function rowsOf(text: string, name: string): string[][] {
  const rows: string[][] = []
  let row: string[] = []
  // A field, in quotes or plain, and what ends it.
  const fields = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r?\n|$)/y
  while (fields.lastIndex < text.length) {
    const at = fields.lastIndex
    const match = fields.exec(text)
    if (!match) throw new Error(`${name}: row ${rows.length + 1} has a quote that is not closed: ${quote(text, at)}`)
    const [, quoted, plain, end] = match
    row.push(quoted?.replaceAll('""', '"') ?? plain)
    if (end === ',' && fields.lastIndex < text.length) continue
    if (end === ',') row.push('')
    rows.push(row)
    row = []
  }
  return rows
}

const quote = (text: string, at: number): string => JSON.stringify(text.slice(at, at + 40))
