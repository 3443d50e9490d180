import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { loadModel } from '../../src/load/load.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { Llama } from '../../src/models/llama.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { Scope } from '../../src/nn/scope.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { languageModelInputs, nextTokenObjective } from '../../src/optim/language-model.ts'
import { saveModel } from '../../src/optim/model-folder.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer, type TrainerOptions } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import type { TensorData } from '../../src/tensor/index.ts'
import { adapterGroups, Offsite, tunedAdapters, uniformLayers } from '../../src/train/offsite.ts'
import { drawnWeights, fullLogits } from '../generate/tiny.ts'

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-offsite-'))
afterAll(() => rmSync(folder, { recursive: true }))

const sizes = { vocabSize: 30, maxPositions: 16, dModel: 16, nLayers: 7, nHeads: 2, dInner: 24 }
const off = { embeddingDropout: 0, attentionDropout: 0, residualDropout: 0 }
const MODELS: [string, GPT2 | Llama, string][] = [
  ['GPT-2', new GPT2({ ...sizes, ...off }), 'transformer.h.'],
  ['LLaMA', new Llama(sizes), 'model.layers.'],
]
/** Of seven layers the first and the last two; of the four between two are kept: 1 and 4. */
const PLAN = { first: 1, last: 2, kept: 2 }
const ORIGINS = [0, 1, 4, 5, 6]
const TEXT = [4, 19, 3, 8, 8, 21, 2, 16]
const batch = { inputIds: Int32Array.from(TEXT), shiftLabels: Int32Array.from([...TEXT.slice(1), -100]) }

type Named = Map<string, TensorData>

async function trained(steps: number, options: Pick<TrainerOptions, 'objective' | 'groups' | 'weights'>) {
  const trainer = await Trainer.create({
    inputs: languageModelInputs(1, TEXT.length),
    learningRate: constantSchedule(1e-2),
    ...options,
  })
  const losses: number[] = []
  for (let step = 0; step < steps; step++) losses.push((await trainer.train(batch)).loss)
  const weights: Named = new Map(
    [...(await trainer.weights())].map(([name, value]) => [name, { ...value, data: value.data.slice() }]),
  )
  trainer.release()
  return { losses, weights }
}

const changed = (before: Named, after: Named): string[] =>
  [...before].filter(([name, { data }]) => `${after.get(name)?.data}` !== `${data}`).map(([name]) => name)

describe('layers that are kept', () => {
  it('are evenly apart, as the authors’ code counts them', () => {
    expect(uniformLayers(20, 8)).toEqual([0, 3, 5, 8, 11, 14, 16, 19])
    expect(uniformLayers(44, 16)).toEqual([0, 3, 6, 9, 11, 14, 17, 20, 23, 26, 29, 32, 34, 37, 40, 43])
    expect(uniformLayers(4, 3)).toEqual([0, 2, 3]) // 1.5 goes to the even one, in Python and here
    expect(uniformLayers(6, 3)).toEqual([0, 2, 5]) // 2.5 as well
    expect(uniformLayers(5, 5)).toEqual([0, 1, 2, 3, 4])
    expect(uniformLayers(5, 1)).toEqual([0])
    expect(() => uniformLayers(4, 5)).toThrow('of 4 middle layers 1 to 4 can be kept, not 5')
    expect(() => uniformLayers(4, 0)).toThrow('not 0')
  })
})

describe.each(MODELS)('%s', (_, model, prefix) => {
  const weights = drawnWeights(model)
  const offsite = new Offsite<GPT2 | Llama>(model, PLAN)
  const { emulator } = offsite
  const layersOf = (names: Iterable<string>): number[] =>
    [...new Set([...names].map((name) => Number(name.slice(prefix.length).split('.')[0])))].sort((a, b) => a - b)

  it('gives an emulator of its kind with the layers that are kept, and nothing of the others', async () => {
    const sent = offsite.emulatorWeights(weights)
    for (const [name, { data }] of sent) {
      const layer = name.startsWith(prefix) ? layersOf([name])[0] : undefined
      const origin = layer === undefined ? name : name.replace(`${prefix}${layer}.`, `${prefix}${ORIGINS[layer]}.`)
      expect([name, data]).toEqual([name, weights.get(origin)?.data])
    }
    // The file that leaves: a model that anybody can load, in which the numbers of the dropped layers do not occur.
    const target = join(folder, model.constructor.name)
    await saveModel(target, { model: emulator, weights: sent })
    const loaded = await loadModel(target)
    expect((loaded.model as GPT2 | Llama).config.nLayers).toBe(5)
    const bytes = readFileSync(join(target, 'model.safetensors'))
    for (const [name, { data }] of weights) {
      // Gains and biases may be alike in all layers; what is drawn is not.
      if (!name.startsWith(prefix)) continue
      const values = data as Float32Array
      const isThere = bytes.includes(Buffer.from(values.buffer, values.byteOffset, values.byteLength))
      expect([name, isThere]).toEqual([name, ORIGINS.includes(layersOf([name])[0])])
    }
    expect(Object.keys(readTensors(join(target, 'model.safetensors'))).length).toBe(sent.size)
  })

  it('has an emulator without loss where nothing is dropped', async () => {
    const all = new Offsite<GPT2 | Llama>(model, { first: 2, last: 1, kept: 4 })
    const expected = await fullLogits(model, weights, TEXT)
    expect(await fullLogits(all.emulator, all.emulatorWeights(weights), TEXT)).toEqual(expected)
    const run = await compile(
      trace((scope, inputs) => ({ distance: all.distillation()(scope, inputs).distance as never }), {
        ...languageModelInputs(1, TEXT.length),
      }),
      all.distillationWeights(weights),
    )
    const feeds = Object.fromEntries(
      Object.entries(batch).map(([name, data]) => [name, { dtype: 'int32', shape: [1, TEXT.length], data } as const]),
    )
    expect((await run(feeds)).distance?.data[0]).toBe(0)
    run.release()
  })

  it('is taught to its emulator: the middle moves, and comes nearer; nothing else does', async () => {
    const before = offsite.distillationWeights(weights)
    const options = { groups: offsite.middleGroups(0), weights: before }
    const distances: number[] = []
    const trainer = await Trainer.create({
      inputs: languageModelInputs(1, TEXT.length),
      learningRate: constantSchedule(1e-2),
      objective: offsite.distillation(),
      ...options,
    })
    for (let step = 0; step < 60; step++) distances.push((await trainer.train(batch)).metrics.distance)
    const after: Named = new Map(await trainer.weights())
    expect(distances[59]).toBeLessThan(distances[0] / 3)
    expect(layersOf(changed(before, after))).toEqual([1, 2])
    trainer.release()
  })

  it('gets back adapters alone, and has them in their places', async () => {
    const sent = offsite.emulatorWeights(weights)
    const { losses, weights: tuned } = await trained(40, {
      objective: nextTokenObjective(emulator as CausalLm),
      groups: adapterGroups(emulator, PLAN, 0),
      weights: sent,
    })
    expect(losses[39]).toBeLessThan(losses[0] - 1)
    expect(layersOf(changed(sent, tuned))).toEqual([0, 3, 4])
    const adapters = tunedAdapters(emulator, PLAN, tuned)
    expect(layersOf(adapters.keys())).toEqual([0, 3, 4])
    const plugged = offsite.plugIn(weights, adapters)
    expect(layersOf(changed(weights, plugged))).toEqual([0, 5, 6])
    expect(plugged.size).toBe(weights.size)
    const last = [...adapters.keys()].filter((name) => name.startsWith(`${prefix}4.`))
    for (const name of last) {
      expect(plugged.get(name.replace(`${prefix}4.`, `${prefix}6.`))?.data).toEqual(adapters.get(name)?.data)
    }
  })

  it('plugs in nothing but its adapters', () => {
    const adapters = tunedAdapters(emulator, PLAN, offsite.emulatorWeights(weights))
    expect(changed(weights, offsite.plugIn(weights, adapters))).toEqual([])
    const [name, value] = [...adapters][0]
    const middle = name.replace(`${prefix}0.`, `${prefix}1.`)
    expect(() => offsite.plugIn(weights, new Map([...adapters, [middle, value]]))).toThrow(
      `${middle} is no parameter of an adapter, and is not plugged in`,
    )
    expect(() => offsite.plugIn(weights, new Map([...adapters].slice(1)))).toThrow(`the weights lack ${name}`)
    const wrong = { ...value, shape: [1, 2] }
    expect(() => offsite.plugIn(weights, new Map([...adapters, [name, wrong]]))).toThrow(
      'came back as [1,2], and was sent as',
    )
  })

  it('needs layers between its adapters', () => {
    expect(() => new Offsite<GPT2 | Llama>(model, { first: 4, last: 3, kept: 1 })).toThrow(
      '7 layers are too few for 4 and 3',
    )
    expect(() => new Offsite<GPT2 | Llama>(model, { first: 0, last: 0, kept: 1 })).toThrow('too few')
  })
})

it('a scope that watches is told of every block, in both passes once', () => {
  const [, model] = MODELS[1]
  const seen: string[] = []
  for (const options of [{}, { training: true, recompute: true }]) {
    const scope = Scope.root(options)
    trace(
      (_, { inputIds }) =>
        model.forward(
          scope.at('part').watching((name) => seen.push(name)),
          { inputIds },
        ),
      {
        inputIds: int32(1, 3),
      },
    )
  }
  const names = Array.from({ length: 7 }, (_, i) => `part.model.layers.${i}`)
  expect(seen).toEqual([...names, ...names])
})
