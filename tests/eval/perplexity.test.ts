import { readFileSync } from 'node:fs'
import { expect, it } from 'vitest'
import { perplexity } from '../../src/eval/perplexity.ts'
import { loadModel } from '../../src/load/load.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import '../../src/runtime/node.ts'
import { lacksShared, sharedPath } from '../shared.ts'

it.skipIf(lacksShared('models/smollm2.json'))(
  'the loss on a text is the reference implementation’s',
  async () => {
    const { perplexity: reference } = JSON.parse(readFileSync(sharedPath('models/smollm2.json'), 'utf8')) as {
      perplexity: { ids: number[]; text: string; loss: number }
    }
    const { model, weights } = await loadModel(`gguf:${sharedPath('models/SmolLM2-135M-Instruct.Q4_1.gguf')}`)
    const {
      loss,
      perplexity: ppl,
      tokens,
    } = await perplexity(model as CausalLm, weights, reference.ids, reference.text.length)
    expect(loss).toBeCloseTo(reference.loss, 3)
    expect(ppl).toBeCloseTo(Math.exp(loss), 6)
    expect(tokens).toBe(reference.ids.length - 1)
  },
  120_000,
)
