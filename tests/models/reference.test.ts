import { describe, expect, it } from 'vitest'
import { disagreements } from '../parity/parity.ts'
import { lacksShared, sharedPath } from '../shared.ts'

describe('outputs and gradients equal the reference implementation', () => {
  for (const name of ['gpt2', 'llama']) {
    it.skipIf(lacksShared(`parity/${name}`))(name, async () => {
      expect(await disagreements(sharedPath(`parity/${name}`))).toEqual([])
    })
  }
})
