import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/hub/open.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { loadModel } from '../../src/load/load.ts'
import { forward } from '../../src/load/run.ts'
import { CODEGEN_SIZES, CodeGen, CodeGenConfig } from '../../src/models/codegen.ts'
import { GPT1, GPT1Config } from '../../src/models/gpt1.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { GPT3, GPT3_SIZES, GPT3Config, gpt3BatchTokens, gpt3LearningRate } from '../../src/models/gpt3.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { trace } from '../../src/nn/trace.ts'
import { nextTokenObjective } from '../../src/optim/language-model.ts'
import { saveModel } from '../../src/optim/model-folder.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { sizeOf, type TensorData, tensorData } from '../../src/tensor/index.ts'
import { drawnWeights, fullLogits } from '../generate/tiny.ts'

/** What the decoders before LLaMA have in common, and what is peculiar to each. */

const fixture = (name: string): string => fileURLToPath(new URL(`../parity/${name}`, import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'jackdaw-gpts-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const SIZES = { vocabSize: 13, maxPositions: 12, dModel: 16, nLayers: 2, nHeads: 4 }
const NO_DROPOUT = { embeddingDropout: 0, attentionDropout: 0, residualDropout: 0 }
const MODELS: readonly [string, CausalLm][] = [
  ['GPT-1', new GPT1({ ...SIZES, ...NO_DROPOUT })],
  ['GPT-3', new GPT3({ ...SIZES, window: 3 })],
  ['CodeGen', new CodeGen({ ...SIZES, rotaryDim: 2 })],
]

describe.each(MODELS)('%s', (_, model) => {
  it('learns one batch by heart', async () => {
    const shape = [2, 8] as const
    const trainer = await Trainer.create({
      objective: nextTokenObjective(model),
      inputs: { inputIds: { dtype: 'int32', shape }, shiftLabels: { dtype: 'int32', shape } },
      learningRate: constantSchedule(1e-2),
      weightDecay: 0,
    })
    const inputIds = Int32Array.of(1, 5, 3, 3, 8, 2, 9, 4, 2, 2, 7, 1, 12, 0, 6, 5)
    const shiftLabels = Int32Array.from(inputIds, (_, i) => (i % 8 === 7 ? -100 : inputIds[i + 1]))
    const first = await trainer.train([{ inputIds, shiftLabels }])
    let last = first
    for (let i = 0; i < 120; i++) last = await trainer.train([{ inputIds, shiftLabels }])
    trainer.release()
    expect(first.loss).toBeGreaterThan(1.5)
    expect(last.loss).toBeLessThan(0.15)
  })
})

it.each(['gpt1-segments', 'gpt1-relu-untied', 'gpt-neo', 'gpt-neo-untied', 'codegen', 'codegen-tied'])(
  '%s, saved and loaded, computes the same',
  async (name) => {
    const { model, weights } = await loadModel(fixture(name))
    await saveModel(join(folder, name), { model, weights: weights as Map<string, TensorData> })
    const inputs = readTensors(join(fixture(name), 'inputs.safetensors'))
    const answer = async (path: string) => {
      const checkpoint = openCheckpoint(path)
      const { logits } = await forward(checkpoint, inputs)
      checkpoint.close()
      return logits.data
    }
    expect(await answer(join(folder, name))).toEqual(await answer(fixture(name)))
  },
)

/** How many numbers a model has. */
const parametersOf = (model: CausalLm): number =>
  [...trace((scope, inputs) => model.forward(scope, inputs), model.inputs).parameters.values()].reduce(
    (sum, { shape }) => sum + sizeOf(shape),
    0,
  )

describe('GPT-1', () => {
  it('is as large as the released model', () => {
    expect(parametersOf(new GPT1())).toBe(116_534_784)
  })

  it('drops nothing unless it is trained, whatever its configuration says', async () => {
    const run = async (dropout: number) => {
      const model = new GPT1({
        ...SIZES,
        embeddingDropout: dropout,
        attentionDropout: dropout,
        residualDropout: dropout,
      })
      return fullLogits(model, drawnWeights(model), [1, 2, 3])
    }
    expect(await run(0.5)).toEqual(await run(0))
    const model = new GPT1({ ...SIZES, ...NO_DROPOUT, residualDropout: 0.5 })
    const inputs = { inputIds: { dtype: 'int32', shape: [1, 3] } } as const
    const training = trace((scope, given) => ({ logits: model.forward(scope, given).logits }), inputs, {
      training: true,
    })
    expect(training.draws).toHaveLength(2 * SIZES.nLayers)
  })

  it('refuses an activation that the reference does not have, and heads that do not divide its width', () => {
    expect(() => GPT1Config.read({ afn: 'tanh' })).toThrow('config.json is not a GPT-1 configuration: afn: ')
    expect(() => GPT1Config.read({ n_embd: 10, n_head: 3 })).toThrow('n_head: 3 heads do not divide n_embd, 10')
  })
})

describe('GPT-3', () => {
  it('sees no further than its bands reach, layer upon layer', async () => {
    const model = new GPT3({ ...SIZES, nLayers: 2, attentionLayers: ['local', 'local'], window: 3 })
    const weights = drawnWeights(model)
    const ids = [1, 2, 3, 4, 5, 6, 7, 8]
    const before = await fullLogits(model, weights, ids)
    const after = await fullLogits(model, weights, [9, ...ids.slice(1)])
    // Two layers of windows of 3 reach back 4 positions.
    for (const [i, logits] of before.entries()) {
      if (i > 4) expect(after[i]).toEqual(logits)
      else expect(after[i]).not.toEqual(logits)
    }
  })

  it('alternates dense and banded layers, as files say it or by itself', () => {
    const layers = (json: object) => GPT3Config.read({ ...json }).attentionLayers
    expect(new GPT3({ nLayers: 3 }).config.attentionLayers).toEqual(['global', 'local', 'global'])
    expect(
      layers({
        num_layers: 3,
        attention_types: [
          [['local'], 1],
          [['global'], 2],
        ],
      }),
    ).toEqual(['local', 'global', 'global'])
    expect(layers({ num_layers: 1, attention_types: [[['local'], 1]], attention_layers: ['global'] })).toEqual([
      'global',
    ])
    expect(() => layers({ num_layers: 3, attention_types: [[['global', 'local'], 1]] })).toThrow(
      'attention_layers: names 2 layers, and num_layers is 3',
    )
    expect(() => layers({ num_layers: 1, attention_types: [[['sparse'], 1]] })).toThrow('attention_types.0.0.0: ')
    expect(() => GPT3Config.read({ hidden_size: 10, num_heads: 3 })).toThrow('3 heads do not divide hidden_size, 10')
  })

  it('keeps every setting of a configuration', () => {
    for (const config of [{ nLayers: 3, window: 7 }, GPT3_SIZES['1.3B'].config, { residualDropout: 0.3, dInner: 7 }]) {
      const model = new GPT3(config)
      expect(GPT3Config.read(model.toConfig())).toEqual(model.config)
    }
  })

  it('has the sizes of the paper’s table', () => {
    const billions = Object.entries(GPT3_SIZES).map(([name, { config: c }]) => {
      const perLayer = 4 * c.dModel * c.nHeads * c.headDim + 8 * c.dModel ** 2
      return [name, (c.nLayers * perLayer + (50257 + 2048) * c.dModel) / 1e9] as const
    })
    for (const [name, count] of billions) {
      const said = Number.parseFloat(name) * (name.endsWith('M') ? 1e-3 : 1)
      expect(count / said, name).toBeGreaterThan(0.93)
      // The table's 24 heads of 128 make 1.3B a sixth larger than its name.
      expect(count / said, name).toBeLessThan(name === '1.3B' ? 1.17 : 1.08)
    }
    expect(parametersOf(new GPT3(GPT3_SIZES['125M'].config))).toBe(125_198_592)
  })

  it('grows its batches, and warms up and cools down its learning rate, by tokens seen', () => {
    const { batchTokens, learningRate } = GPT3_SIZES['175B']
    expect([0, 6e9, 12e9, 300e9].map((seen) => gpt3BatchTokens(seen, batchTokens))).toEqual([
      32e3, 1.616e6, 3.2e6, 3.2e6,
    ])
    expect(gpt3BatchTokens(2e9, 0.5e6, 4e9)).toBe(266e3)
    const rates = [0, 187.5e6, 375e6, 260e9, 300e9].map((seen) => gpt3LearningRate(seen, learningRate) / learningRate)
    for (const [i, rate] of [0, 0.5, 1, 0.1, 0.1].entries()) expect(rates[i]).toBeCloseTo(rate, 10)
  })
})

describe('CodeGen', () => {
  it('is as large as the released models', () => {
    expect(parametersOf(new CodeGen({ vocabSize: 51200, ...CODEGEN_SIZES['350M'] }))).toBe(356_712_448)
  })

  it('refuses heads that do not fit its shards, and rotary features that do not fit a head', () => {
    const read = (json: object) => () => CodeGenConfig.read({ n_embd: 24, n_head: 4, rotary_dim: 2, ...json })
    expect(read({ n_head: 6 })).toThrow('n_head: 6 heads do not fit 4 shards of qkv_proj')
    expect(read({ n_head: 16 })).toThrow('n_head: 16 heads do not divide n_embd, 24')
    expect(read({ rotary_dim: 8 })).toThrow('rotary_dim: 8 is no even part of a head’s 6 features'.replace('’', "'"))
    expect(read({ rotary_dim: 3 })).toThrow('rotary_dim: 3 ')
    expect(read({ activation_function: 'relu2' })).not.toThrow()
  })

  it('says which activations there are where it is asked for another', () => {
    const model = new CodeGen({ ...SIZES, rotaryDim: 2, activation: 'relu2' })
    expect(() => trace((scope, inputs) => model.forward(scope, inputs), model.inputs)).toThrow(
      "activation 'relu2' is not known; known are relu, ",
    )
  })
})

it.each([
  ['GPT-1', new GPT1({ ...SIZES, ...NO_DROPOUT }), 'transformer.tokens_embed.weight'],
  ['GPT-2', new GPT2({ ...SIZES, ...NO_DROPOUT }), 'transformer.wte.weight'],
] as const)('%s adds the embeddings of the tokens that mark segments', async (_, model, table) => {
  const weights = drawnWeights(model)
  const rows = weights.get(table)?.data as Float32Array
  const row = (id: number) => rows.subarray(id * SIZES.dModel, (id + 1) * SIZES.dModel)
  const answer = async (feeds: Record<string, TensorData>) => {
    const traced = trace((scope, inputs) => ({ logits: model.forward(scope, inputs).logits }), model.inputs, {
      given: Object.keys(feeds),
    })
    const run = await compile(traced, weights)
    const { logits } = await run(feeds)
    run.release()
    return logits.data as Float32Array
  }
  const [ids, types] = [
    [3, 1, 4],
    [7, 7, 2],
  ]
  const marked = await answer({
    inputIds: tensorData('int32', [1, 3], ids),
    tokenTypeIds: tensorData('int32', [1, 3], types),
  })
  const summed = ids.flatMap((id, i) => Array.from(row(id), (x, k) => x + row(types[i])[k]))
  const byHand = await answer({ inputsEmbeds: tensorData('float32', [1, 3, SIZES.dModel], summed) })
  for (const [i, value] of marked.entries()) expect(value).toBeCloseTo(byHand[i], 4)
})
