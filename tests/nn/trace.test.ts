import { describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { constantInit } from '../../src/nn/initializers.ts'
import { linear } from '../../src/nn/layers.ts'
import type { Scope } from '../../src/nn/scope.ts'
import { checkInputs, float32, int32, optional, trace } from '../../src/nn/trace.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { grad, mean, square, sum, type Tensor, tanh, tensorData } from '../../src/tensor/index.ts'

const vector = (...values: number[]) => tensorData('float32', [values.length], values)
const matrix = (rows: number[][]) => tensorData('float32', [rows.length, rows[0].length], rows.flat())

describe('the door', () => {
  it('runs a function on its weights, with any outputs and any size', async () => {
    const traced = trace(
      function affine(scope, { x }) {
        const y = linear(scope.at('fc'), x, 2)
        return { y, total: sum(y), left: undefined }
      },
      { x: float32('batch', 3) },
    )
    expect([...traced.parameters.keys()]).toEqual(['fc.weight', 'fc.bias'])
    const weights = new Map([
      [
        'fc.weight',
        matrix([
          [1, 0, 0],
          [0, 1, 0],
        ]),
      ],
      ['fc.bias', vector(0, 10)],
    ])
    const run = await compile(traced, weights)
    for (const rows of [
      [[1, 2, 3]],
      [
        [1, 2, 3],
        [4, 5, 6],
      ],
    ]) {
      const { y, total } = await run({ x: matrix(rows) })
      expect([...y.data]).toEqual(rows.flatMap(([a, b]) => [a, b + 10]))
      expect(total.data[0]).toBe(rows.reduce((s, [a, b]) => s + a + b + 10, 0))
    }
    run.release()
  })

  it('says which inputs are missing, before and while it runs', async () => {
    const specs = {
      inputIds: int32('batch', 'seq'),
      attentionMask: int32('batch', 'seq'),
      labels: optional(int32('batch', 'seq')),
    }
    const forward = (_scope: Scope, { inputIds }: Record<string, Tensor>) => ({ y: inputIds })
    expect(() => trace(forward, specs, { given: ['labels'] })).toThrow(
      'forward needs inputIds and attentionMask, got labels',
    )
    expect(() => trace(forward, specs, { given: ['inputIds', 'attentionMask', 'colour'] })).toThrow(
      'forward does not take colour; it takes inputIds, attentionMask and labels',
    )
    const either = { decoderInputIds: { ...int32('seq'), unless: 'labels' }, labels: optional(int32('seq')) }
    expect(() => checkInputs('T5', either, [])).toThrow('T5 needs decoderInputIds (or labels), got nothing')
    expect(() => checkInputs('T5', either, ['labels'])).not.toThrow()
    const run = await compile(trace(forward, { inputIds: int32(1, 1) }))
    await expect(run({})).rejects.toThrow('forward needs inputIds, got nothing')
    const ids = tensorData('int32', [1, 1], [7])
    await expect(run({ inputIds: ids, colour: ids })).rejects.toThrow('forward needs inputIds, got inputIds and colour')
    run.release()
  })

  it('says which weights are missing', async () => {
    const traced = trace((scope, { x }) => ({ y: linear(scope.at('fc'), x, 2) }), { x: float32(1, 3) }, { name: 'it' })
    await expect(compile(traced)).rejects.toThrow('the weights lack 2 parameters that it needs: fc.weight, fc.bias')
  })

  it('lets an output be called like an input or a parameter, in the ONNX file by another name', async () => {
    const traced = trace(
      (scope, { sample }) => ({ sample: sample.mul(scope.param('gain', [1])), gain: sample.add(1) }),
      { sample: float32(2) },
    )
    const run = await compile(traced, new Map([['gain', vector(3)]]))
    const { sample, gain } = await run({ sample: vector(1, 2) })
    expect([[...sample.data], [...gain.data]]).toEqual([
      [3, 6],
      [2, 3],
    ])
    expect(Buffer.from(run.toOnnx()).toString('latin1')).toContain('out_sample')
    const bound = { sample: vector(0, 0), gain: vector(0, 0) }
    await run.bind({ sample: vector(5, 6) }, bound).run()
    expect([...bound.sample.data]).toEqual([15, 18])
    run.release()
  })

  it('draws noise in evaluation too: from the seed and the number of the call, in the size of what is fed', async () => {
    const traced = trace((scope, { x }) => ({ y: x.mul(0).add(scope.normal(x)), u: scope.uniform([2]) }), {
      x: float32('batch'),
    })
    const run = await compile(traced)
    const x = vector(...new Array<number>(4000).fill(1))
    const numbers = async (options?: object) => [...((await run({ x }, options)).y.data as Float32Array)]
    const [first, second] = [await numbers(), await numbers()]
    expect(first).not.toEqual(second)
    expect(await numbers({ step: 0 })).toEqual(first)
    expect(await numbers({ step: 0, seed: 1 })).not.toEqual(first)
    expect(Math.abs(first.reduce((a, b) => a + b) / 4000)).toBeLessThan(0.1)
    expect((await run({ x: vector(1, 2, 3) })).y.shape).toEqual([3])
    run.release()
  })

  it('reads the weights of a trainer as they are at every call', async () => {
    const trainer = await Trainer.create({
      objective: (scope, { x }) => ({ loss: mean(square(linear(scope.at('fc'), x, 1))) }),
      inputs: { x: float32(1, 3) },
      learningRate: constantSchedule(0.1),
      emaDecay: 0.5,
    })
    const traced = trace((scope, { x }) => ({ y: linear(scope.at('fc'), x, 1) }), { x: float32('batch', 3) })
    const [live, averaged] = [await compile(traced, trainer), await compile(traced, trainer.averaged)]
    const answer = async (run: typeof live) => (await run({ x: matrix([[1, 2, 3]]) })).y.data[0] as number
    const before = await answer(live)
    await trainer.train({ x: Float32Array.of(1, 2, 3) })
    const after = await answer(live)
    expect(after).not.toBe(before)
    expect(await answer(averaged)).toBeCloseTo((before + after) / 2, 5)
    const frozen = trace((scope, { x }) => ({ y: linear(scope.at('reference').frozen().at('fc'), x, 1) }), {
      x: float32(1, 3),
    })
    await expect(compile(frozen, trainer)).rejects.toThrow('the weights lack 2 parameters')
    for (const one of [live, averaged, trainer]) one.release()
  })
})

describe('a scope', () => {
  const weights = new Map([['fc.weight', matrix([[2, 3]])]])
  const layer = (scope: Scope, x: Tensor) => linear(scope.at('fc'), scope.dropout(x, 0.5), 1, { bias: false })

  it('freezes a part: evaluation mode, no gradient for its weights, gradients through it, first values of the plain name', async () => {
    const trainer = await Trainer.create({
      objective: (scope, { x }) => {
        const shifted = x.add(scope.param('shift', [1, 2], constantInit(0)))
        return { loss: sum(layer(scope.at('reference').frozen(), shifted)), here: sum(layer(scope, x)) }
      },
      inputs: { x: float32(1, 2) },
      learningRate: constantSchedule(1),
      weights: new Map([...weights, ['shift', matrix([[0, 0]])]]),
      weightDecay: 0,
      beta1: 0,
      beta2: 0,
      clipNorm: Infinity,
    })
    expect(trainer.layout.trained.map(({ name }) => name).sort()).toEqual(['fc.weight', 'shift'])
    const { loss } = await trainer.train({ x: Float32Array.of(1, 1) })
    expect(loss).toBe(5) // dropout would have made it 0, 4, 6 or 10
    const values = await trainer.weights()
    expect([...(values.get('reference.fc.weight')?.data ?? [])]).toEqual([2, 3])
    expect([...(values.get('shift')?.data ?? [])].map(Math.sign)).toEqual([-1, -1])
    trainer.release()
  })

  it('replaces parameters, once for every name, with gradients for what they are made of', async () => {
    const traced = trace(
      (scope, { x }) => {
        const adapted = scope.replacing((name, weight, root) =>
          name === 'fc.weight' ? weight.add(root.at('lora').param('delta', [1, 2], constantInit(0))) : undefined,
        )
        const y = layer(adapted, x).add(layer(adapted, x))
        const delta = scope.parameters.get('lora.delta')?.tensor as Tensor
        return { y, ...{ gradient: grad(sum(y), [delta])[0] } }
      },
      { x: float32(1, 2) },
    )
    expect([...traced.parameters.keys()]).toEqual(['fc.weight', 'lora.delta'])
    const run = await compile(traced, new Map([...weights, ['lora.delta', matrix([[10, 20]])]]))
    const { y, gradient } = await run({ x: matrix([[1, 1]]) })
    expect([y.data[0], ...gradient.data]).toEqual([70, 2, 2])
    run.release()
  })

  it('computes blocks again where it is asked to, to the same bits', async () => {
    const train = async (recompute: boolean) => {
      const trainer = await Trainer.create({
        objective: (scope, { x }) => {
          let h = x
          for (let i = 0; i < 3; i++) {
            h = scope.block((part, h) => tanh(part.dropout(linear(part, h, 4), 0.2)), scope.at('layers', i), h)
          }
          return { loss: mean(square(h.sub(1))) }
        },
        inputs: { x: float32(2, 4) },
        learningRate: constantSchedule(1e-2),
        recompute,
      })
      const losses = []
      for (let i = 0; i < 5; i++)
        losses.push((await trainer.train({ x: Float32Array.from({ length: 8 }, (_, j) => Math.sin(i + j)) })).loss)
      trainer.release()
      return losses
    }
    expect(await train(true)).toEqual(await train(false))
  })
})
