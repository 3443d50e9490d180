import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { rollout } from '../../src/generate/rollout.ts'
import { addLowRank, readAdapter } from '../../src/hub/adapter.ts'
import { convertModel } from '../../src/hub/convert.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { loadModel, openAdapted } from '../../src/load/load.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { Llama } from '../../src/models/llama.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { saveModel } from '../../src/optim/model-folder.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { crossEntropy, grad, type TensorData, tensorData } from '../../src/tensor/index.ts'
import { Lora, linearLayers, loadLora, saveLora } from '../../src/train/lora.ts'
import { drawnWeights, fullLogits } from '../generate/tiny.ts'
import { PARITY_TOLERANCE } from '../parity/parity.ts'
import { uniform } from '../tensor/check.ts'

const PEFT = fileURLToPath(new URL('peft/', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'jackdaw-lora-'))
afterAll(() => rmSync(folder, { recursive: true }))

type Named = Map<string, TensorData>
const numbers = ({ data }: TensorData): Float32Array => data as Float32Array

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = PARITY_TOLERANCE): void {
  expect(actual.length).toBe(expected.length)
  const largest = Math.max(...Array.from(expected, Math.abs))
  expect(Math.max(...Array.from(actual, (value, i) => Math.abs(value - expected[i]))) / largest).toBeLessThan(tolerance)
}

async function load(reference: string): Promise<{ model: CausalLm; weights: Named }> {
  const { model, weights } = await loadModel(reference)
  return { model: model as CausalLm, weights: weights as Named }
}

describe.each(readdirSync(PEFT))('an adapter of PEFT: %s', (name) => {
  const path = join(PEFT, name)
  const { base } = readAdapter(path)
  const answers = readTensors(join(path, 'answers.safetensors'))
  const ids = tensorData('int32', answers.input_ids.shape, Int32Array.from(answers.input_ids.data as never, Number))

  it('gives its logits and gradients', async () => {
    const { model, weights } = await load(join(path, base as string))
    const { lora, weights: learned } = loadLora(path, model)
    const gradients = Object.keys(answers).filter((key) => key.startsWith('base_model.'))
    const traced = trace(
      (scope, { inputIds, shiftLabels }): Record<string, never> => {
        const { logits } = lora.forward(scope, { inputIds })
        const parameters = gradients.map((key) => scope.parameters.get(key)?.tensor as never)
        const found = grad(crossEntropy(logits, shiftLabels), parameters)
        return { logits, ...Object.fromEntries(gradients.map((key, i) => [key, found[i]])) } as never
      },
      { inputIds: int32(2, 9), shiftLabels: int32(2, 9) },
    )
    const run = await compile(traced, new Map([...weights, ...learned]))
    const shiftLabels = (ids.data as Int32Array).map((_, i, all) => (i % 9 === 8 ? -100 : all[i + 1]))
    const results: Record<string, TensorData> = await run({
      inputIds: ids,
      shiftLabels: tensorData('int32', [2, 9], shiftLabels),
    })
    run.release()
    expect(gradients.length).toBe(2)
    for (const key of ['logits', ...gradients]) expectClose(numbers(results[key]), numbers(answers[key]))
  })

  it('is a model by itself: its base with it merged', async () => {
    const { model, weights } = await load(path)
    const rows = await fullLogits(model, weights, [...(ids.data as Int32Array).subarray(0, 9)])
    expectClose(
      rows.flatMap((row) => [...row]),
      numbers(answers.logits).subarray(0, 9 * model.vocabSize),
    )
  })

  it('is written as it was read', async () => {
    const { model } = await load(join(path, base as string))
    const { lora, weights } = loadLora(path, model)
    const target = join(folder, name)
    await saveLora(target, lora, weights, { base })
    expect(readTensors(join(target, 'adapter_model.safetensors'))).toEqual(
      readTensors(join(path, 'adapter_model.safetensors')),
    )
    const [written, read] = [target, path].map((at) =>
      JSON.parse(readFileSync(join(at, 'adapter_config.json'), 'utf8')),
    )
    for (const key of ['r', 'peft_type', 'task_type', 'fan_in_fan_out', 'base_model_name_or_path', 'bias']) {
      expect([key, written[key]]).toEqual([key, read[key]])
    }
    expect(readAdapter(target)).toEqual(readAdapter(path))
  })
})

const MODELS: readonly [string, CausalLm][] = [
  ['LLaMA', new Llama({ vocabSize: 20, maxPositions: 32, dModel: 16, nLayers: 2, nHeads: 2, nKvHeads: 1, dInner: 24 })],
  ['GPT-2', new GPT2({ vocabSize: 20, maxPositions: 32, dModel: 16, nLayers: 2, nHeads: 2 })],
]
const TEXT = [3, 14, 1, 5, 9, 2, 6, 5, 3, 5]

describe.each(MODELS)('%s', (name, model) => {
  const weights = drawnWeights(model)

  it('is what it was until B has learned something, and then only A and B have changed', async () => {
    const lora = new Lora(model, { rank: 2, alpha: 4 })
    const trainer = await Trainer.create({
      objective: nextTokenObjective(lora),
      inputs: languageModelInputs(1, TEXT.length),
      learningRate: constantSchedule(2e-2),
      weights,
      missing: 'init',
    })
    const trained = trainer.layout.trained.map(({ name }) => name)
    expect(trained.length).toBe(2 * linearLayers(model).size)
    expect(trained.every((name) => /^base_model\.model\..*\.lora_[AB]\.weight$/.test(name))).toBe(true)
    const logits = async (of: CausalLm, values: Named) =>
      (await fullLogits(of, values, TEXT)).flatMap((row) => [...row])
    expect(await logits(lora, await trainer.weights())).toEqual(await logits(model, weights))

    const batch = { inputIds: Int32Array.from(TEXT), shiftLabels: Int32Array.from([...TEXT.slice(1), -100]) }
    const losses: number[] = []
    for (let step = 0; step < 60; step++) losses.push((await trainer.train(batch)).loss)
    expect(losses[59]).toBeLessThan(losses[0] - 0.5)
    const after: Named = await trainer.weights()
    for (const [key, { data }] of weights) expect([key, after.get(key)?.data]).toEqual([key, data])

    // Merged, decoded with what is in training, and read again: the same model.
    const adapted = await logits(lora, after)
    const merged = lora.merged(after)
    expect(new Set(merged.keys())).toEqual(new Set(weights.keys()))
    expectClose(await logits(model, merged), adapted, 1e-5)
    const decoder = await CachedDecoder.create(lora, trainer)
    const [episode] = await rollout(decoder, [TEXT.slice(0, 3)], { temperature: 0, maxNewTokens: 4 })
    decoder.release()
    const greedy = TEXT.slice(0, 3)
    for (let i = 0; i < 4; i++) {
      const row = (await fullLogits(lora, after, greedy)).at(-1) as Float32Array
      greedy.push(row.indexOf(Math.max(...row)))
    }
    expect([...episode.promptIds, ...episode.ids]).toEqual(greedy)
    trainer.release()

    const [base, adapter] = [join(folder, `${name}-base`), join(folder, `${name}-adapter`)]
    await saveModel(base, { model, weights })
    await saveLora(adapter, lora, after, { base })
    const read = loadLora(adapter, model)
    expect(await logits(read.lora, new Map([...weights, ...read.weights]))).toEqual(adapted)
    const opened = await openAdapted(adapter)
    const target = join(folder, `${name}-whole`)
    await convertModel(opened.files.path, target, {}, async () => {}, opened.open)
    const whole = await load(target)
    expectClose(await logits(whole.model, whole.weights), adapted, 1e-5)
  })

  it('adapts the layers that are asked for', () => {
    const all = [...linearLayers(model).keys()]
    expect(all.some((layer) => layer.includes('head'))).toBe(false)
    const [first] = all
    const end = first.split('.').at(-1) as string
    expect([...new Lora(model, { targets: [end] }).layers.keys()]).toEqual(
      all.filter((layer) => layer.endsWith(`.${end}`)),
    )
    expect([...new Lora(model, { targets: [first] }).layers.keys()]).toEqual([first])
    expect(() => new Lora(model, { targets: ['k'] })).toThrow(/has no linear layer k; there are/)
  })
})

it('drops of x what it is told to, in training alone', async () => {
  const [, model] = MODELS[0]
  const lora = new Lora(model, { rank: 2, dropout: 0.5 })
  const trainer = await Trainer.create({
    objective: nextTokenObjective(lora),
    inputs: languageModelInputs(1, 4),
    learningRate: constantSchedule(0),
    weights: drawnWeights(model),
    missing: 'init',
  })
  const batch = { inputIds: Int32Array.of(1, 2, 3, 4), shiftLabels: Int32Array.of(2, 3, 4, 5) }
  const [one, other] = [await trainer.train(batch), await trainer.train(batch)]
  trainer.release()
  // B is zero and stays so: what is dropped is felt in its gradient alone.
  expect(one.loss).toBe(other.loss)
  expect(one.gradNorm).not.toBe(other.gradNorm)
})

it('W + (α / r) BA, whatever part of it and however it is kept', () =>
  fc.assert(
    fc.property(
      fc.record({
        rank: fc.integer({ min: 1, max: 3 }),
        inFeatures: fc.integer({ min: 1, max: 4 }),
        outFeatures: fc.integer({ min: 1, max: 4 }),
        inFirst: fc.boolean(),
        alpha: fc.integer({ min: 1, max: 9 }),
        from: fc.nat({ max: 3 }),
      }),
      ({ rank, inFeatures, outFeatures, inFirst, alpha, from }) => {
        const [a, b] = [uniform([rank, inFeatures], 1), uniform([outFeatures, rank], 2)]
        const [rowCount, columns] = inFirst ? [inFeatures, outFeatures] : [outFeatures, inFeatures]
        const firstRow = Math.min(from, rowCount - 1)
        const rows = new Float32Array((rowCount - firstRow) * columns).fill(7)
        addLowRank(rows, { a, b }, { alpha, inFirst, firstRow })
        for (const [at, value] of rows.entries()) {
          const [row, column] = [firstRow + Math.floor(at / columns), at % columns]
          const [o, i] = inFirst ? [column, row] : [row, column]
          let sum = 0
          for (let k = 0; k < rank; k++) sum += numbers(b)[o * rank + k] * numbers(a)[k * inFeatures + i]
          expect(value).toBeCloseTo(7 + (alpha / rank) * sum, 4)
        }
      },
    ),
  ))

describe('an adapter that does not fit is refused with one sentence', () => {
  const [source] = readdirSync(PEFT)
  const changed = (change: object): string => {
    const target = mkdtempSync(join(folder, 'changed-'))
    cpSync(join(PEFT, source), target, { recursive: true })
    const path = join(target, 'adapter_config.json')
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, 'utf8')), ...change }))
    return target
  }

  it('of another kind, with more to it, of another rank', () => {
    expect(() => readAdapter(changed({ peft_type: 'IA3' }))).toThrow('an adapter of type "IA3", not LORA')
    expect(() => readAdapter(changed({ use_dora: true }))).toThrow('use_dora is set, which is not read here')
    expect(() => readAdapter(changed({ rank_pattern: { q_proj: 3 } }))).toThrow('rank_pattern is set')
    expect(() => readAdapter(changed({ bias: 'all' }))).toThrow('bias is "all", and only none is read here')
    expect(() => readAdapter(changed({ r: 7 }))).toThrow('with r 7 they are [7, in] and [out, 7]')
  })

  it('of a model that has no such layer, or a wider one', async () => {
    const [, model] = MODELS[0]
    expect(() => loadLora(join(PEFT, 'gpt2-attention'), model)).toThrow(/has no linear layer transformer\.h\.0/)
    const base = join(folder, 'other')
    await saveModel(base, { model, weights: drawnWeights(model) })
    await expect(loadModel(changed({ base_model_name_or_path: base }))).rejects.toThrow(/the adapter (changes|takes)/)
    await expect(loadModel(changed({ base_model_name_or_path: null }))).rejects.toThrow('what it is an adapter of')
  })

  it('whatever its configuration says', () =>
    fc.assert(
      fc.property(
        fc.dictionary(fc.constantFrom('peft_type', 'r', 'lora_alpha', 'bias', 'rank_pattern'), fc.anything()),
        (change) => {
          try {
            const { rank, layers } = readAdapter(changed(JSON.parse(JSON.stringify(change) ?? '{}')))
            for (const { a, b } of layers.values()) expect([a.shape[0], b.shape[1]]).toEqual([rank, rank])
          } catch (error) {
            expect((error as Error).message).toMatch(/adapter_(config\.json|model\.safetensors): \S/)
          }
        },
      ),
      { numRuns: 40 },
    ))
})
