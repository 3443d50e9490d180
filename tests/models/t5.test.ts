import { describe, expect, it } from 'vitest'
import { lacksShared, sharedPath } from '../shared.ts'
import { disagreements } from './parity.ts'

describe('T5: outputs and gradients equal the reference implementation', () => {
  for (const name of ['t5', 'flan-t5']) {
    it.skipIf(lacksShared(`parity/${name}`))(name, async () => {
      expect(await disagreements(sharedPath(`parity/${name}`))).toEqual([])
    })
  }
})
