import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'
import { notesOf, sectionsOf } from '../../web/src/pages/papers/literate.ts'

const source = `/**
 * A Title
 * Some One, 2020.
 *
 * New here:
 * - an idea.
 *
 * Departures: none.
 */

import { a } from './a.ts'
import {
  b,
} from './b.ts'

export interface Settings {
  /** Of eq. 7. */
  readonly rate: number
}

/** y = xW + b. */
export const project = (x: number) => x

export class Net {
  /**
   * Forward.
   *
   * @param x - [batch, seq]
   * @returns logits
   */
  forward(x: number) {
    return x /* not a doc comment */
  }
}
`

it('puts each doc comment beside what it is about, imports apart, properties with their interface', () => {
  const [header, settings, project, forward] = sectionsOf(source)
  expect(header.code).toBe("import { a } from './a.ts'\nimport {\n  b,\n} from './b.ts'")
  expect(notesOf(header.prose)).toBe('Departures: none.')
  expect(settings).toEqual({
    prose: '',
    code: 'export interface Settings {\n  /** Of eq. 7. */\n  readonly rate: number\n}',
  })
  expect(project.prose).toBe('y = xW + b.')
  expect(project.code).toContain('export const project')
  expect(forward.prose).toBe('Forward.\n\n\n- `x`: [batch, seq]\n\n- Returns logits')
  expect(forward.code).toContain('  forward(x: number) {')
})

it('loses no line of a real file', () => {
  const root = fileURLToPath(new URL('../../src/', import.meta.url))
  for (const file of ['models/gpt2.ts', 'models/llama.ts', 'train/ppo.ts', 'generate/samplers.ts']) {
    const text = readFileSync(join(root, file), 'utf8')
    const sections = sectionsOf(text)
    const code = sections.map((section) => section.code).join('\n')
    const prose = sections.map((section) => section.prose).join('\n')
    for (const line of text.split('\n').map((line) => line.trim())) {
      const said = line.replace(/^\/?\*+\/?\s*|\s*\*\/$/g, '').replace(/^@\w+( \w+ -)?/, '')
      expect(code.includes(line) || prose.includes(said.trim()), `${file}: ${line}`).toBe(true)
    }
  }
})

it('takes any text', () => {
  expect(sectionsOf('')).toEqual([])
  expect(sectionsOf('/** never closed')).toEqual([{ prose: '', code: '/** never closed' }])
})
