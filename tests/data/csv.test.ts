import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseCsv } from '../../src/data/csv.ts'

describe('a table of comma-separated values', () => {
  it('has fields in quotes or plain, with commas, line ends and quotes in them', () => {
    expect(parseCsv('label,text\n1,plain\r\n2,"a, ""b""\nc"\n3,\n4,"",\n'.replace('4,"",', '4,""'))).toEqual([
      { label: '1', text: 'plain' },
      { label: '2', text: 'a, "b"\nc' },
      { label: '3', text: '' },
      { label: '4', text: '' },
    ])
    expect(parseCsv('\uFEFFa,b\n,')).toEqual([{ a: '', b: '' }])
    expect(parseCsv('a,b\n')).toEqual([])
  })

  it('is read as it was written, whatever the fields hold', () => {
    const field = fc.string({ unit: fc.constantFrom('a', ',', '"', '\n', '\r', ' ', 'é') })
    const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`
    fc.assert(
      fc.property(fc.array(fc.tuple(field, field)), fc.constantFrom('\n', '\r\n'), (rows, end) => {
        const text = [['a', 'b'], ...rows].map((row) => row.map(quoted).join(',') + end).join('')
        expect(parseCsv(text)).toEqual(rows.map(([a, b]) => ({ a, b })))
      }),
    )
  })

  it('says in one sentence what is wrong', () => {
    expect(() => parseCsv('', 'x.csv')).toThrow('x.csv: is empty')
    expect(() => parseCsv('a,b\n1', 'x.csv')).toThrow('x.csv: row 2 has 1 fields, and the first has 2')
    expect(() => parseCsv('a,b\n1,"open', 'x.csv')).toThrow('x.csv: row 2 has a quote that is not closed: "\\"open"')
  })
})
