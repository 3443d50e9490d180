import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import fc from 'fast-check'
import { afterAll, expect, it } from 'vitest'
import { readToolset } from '../../src/generate/toolset-file.ts'

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-toolset-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const given = (value: unknown) => {
  writeFileSync(join(folder, 'toolset.json'), JSON.stringify(value))
  return readToolset(folder)
}

it('names the tools of a folder and what to ask them; a folder without it has none', () => {
  expect(readToolset(join(folder, 'none'))).toBeUndefined()
  const toolset = given({ tools: ['calculator', 'dictionary'], examples: ['What is 3 + 4?'] })
  expect(toolset?.tools.map(({ spec }) => spec.name)).toEqual(['calculator', 'dictionary'])
  expect(toolset?.examples).toEqual(['What is 3 + 4?'])
})

it('is refused with one sentence where it is anything else', () => {
  expect(() => given({ tools: ['calculator', 'rocket'] })).toThrow('there is no tool "rocket"')
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      fc.pre(!(typeof value === 'object' && value !== null && 'tools' in value))
      expect(() => given(value)).toThrow(/toolset\.json: /)
    }),
    { numRuns: 50 },
  )
})
