import { existsSync, readdirSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { disagreements } from './parity.ts'

const here = fileURLToPath(new URL('.', import.meta.url))
const names = readdirSync(here).filter((name) => existsSync(`${here}${name}/generation.json`))

describe('outputs and gradients of every kind of language model equal the reference implementation', () => {
  it.each(names)('%s', async (name) => {
    expect(await disagreements(here + name)).toEqual([])
  })
})
