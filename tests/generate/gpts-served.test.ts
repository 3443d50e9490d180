import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { charTokenizerJson } from '../../src/data/char-tokenizer.ts'
import { loadServedModel } from '../../src/generate/served.ts'
import type { GenerationRequest } from '../../src/generate/types.ts'
import { openCheckpoint } from '../../src/hub/open.ts'
import { loadModel } from '../../src/load/load.ts'
import { exportOnnx, openOnnx } from '../../src/load/onnx-file.ts'
import { CodeGen } from '../../src/models/codegen.ts'
import { GPT1 } from '../../src/models/gpt1.ts'
import { GPT3 } from '../../src/models/gpt3.ts'
import { Palm } from '../../src/models/palm.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { saveModel } from '../../src/optim/model-folder.ts'
import '../../src/runtime/node.ts'
import { drawnWeights, fullLogits } from './tiny.ts'

/** GPT-1, GPT-3, CodeGen and PaLM as a user has them: a folder that is served, quantised and converted. */

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-gpts-served-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const SIZES = { vocabSize: 26, maxPositions: 48, dModel: 64, nLayers: 2, nHeads: 4 }
const MODELS: readonly [string, CausalLm, quantised: string][] = [
  ['gpt1', new GPT1(SIZES), 'transformer.h.0.mlp.c_fc.weight'],
  // The answers go beyond the window.
  ['gpt3', new GPT3({ ...SIZES, window: 5 }), 'transformer.h.1.attn.attention.q_proj.weight'],
  ['codegen', new CodeGen({ ...SIZES, rotaryDim: 6 }), 'transformer.h.0.attn.qkv_proj.weight'],
  ['palm', new Palm({ ...SIZES, headDim: 16 }), 'model.layers.0.self_attn.k_proj.weight'],
]
const PROMPT = [9, 0, 2, 10, 3, 0, 22]
const LENGTH = 20

async function save(name: string, model: CausalLm): Promise<string> {
  const path = join(folder, name)
  const files = { 'tokenizer.json': JSON.stringify(charTokenizerJson('abcdefghijklmnopqrstuvwxyz')) }
  await saveModel(path, { model, weights: drawnWeights(model), files })
  return path
}

describe.each(MODELS)('%s', (name, model, quantised) => {
  const generate = async (request: Partial<GenerationRequest>, quantize?: 'q8' | 'q4') => {
    const served = await loadServedModel(await save(name, model), { quantize, slots: 2 })
    const told: { id: number; logProb: number }[] = []
    const asked = { promptIds: PROMPT, maxNewTokens: LENGTH, topLogProbs: 1, ...request }
    for await (const event of served.generate(asked)) {
      if (event.type === 'token') told.push({ id: event.id, logProb: event.logProb as number })
    }
    return told
  }

  it('is served: the likeliest tokens are those of full passes over the text', async () => {
    const ids = [...PROMPT]
    const weights = drawnWeights(model)
    for (let i = 0; i < LENGTH; i++) {
      const row = (await fullLogits(model, weights, ids))[ids.length - 1]
      ids.push(row.indexOf(Math.max(...row)))
    }
    const greedy = await generate({ temperature: 0 })
    expect(greedy.map(({ id }) => id)).toEqual(ids.slice(PROMPT.length))
  })

  it('draws from the nucleus, the same from the same seed', async () => {
    const drawn = { temperature: 1, topP: 0.9 }
    const first = await generate({ ...drawn, seed: 3 })
    expect(await generate({ ...drawn, seed: 3 })).toEqual(first)
    expect((await generate({ ...drawn, seed: 4 })).map(({ id }) => id)).not.toEqual(first.map(({ id }) => id))
  })

  it.each([
    ['q8', 0.1],
    ['q4', 1.5],
  ] as const)('is quantised: %s', async (quantize, most) => {
    const { weights } = await loadModel(await save(name, model), { quantize })
    expect(weights.get(quantised)).toHaveProperty('packed')
    const request = { temperature: 0, maxNewTokens: 1 }
    const [[exact], [rounded]] = [await generate(request), await generate(request, quantize)]
    expect(Math.abs(rounded.logProb - exact.logProb)).toBeLessThan(most)
    expect(rounded.logProb).not.toBe(exact.logProb)
  })

  it('is converted to ONNX, which has its weights', async () => {
    const path = await save(name, model)
    await exportOnnx(path, join(folder, `${name}.onnx`))
    const [exported, original] = [openOnnx(join(folder, `${name}.onnx`)), openCheckpoint(path)]
    expect(exported.names().sort()).toEqual(original.names().sort())
    for (const parameter of original.names()) expect(exported.read(parameter)).toEqual(original.read(parameter))
    original.close()
  })
})
