import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'
import { openCheckpoint } from '../../src/hub/open.ts'
import { modelFromConfig } from '../../src/load/registry.ts'
import { readWeights } from '../../src/load/weights.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { compile } from '../../src/runtime/compile.ts'
import '../../src/runtime/node.ts'
import { Scope } from '../../src/nn/scope.ts'
import { grad, type Tensor, type TensorData, tensorData } from '../../src/tensor/index.ts'
import { PARITY_TOLERANCE, relativeError } from '../parity/parity.ts'

const BATCH = 2
const SEQ = 6
const IDS = [3, 5, 8, 2, 9, 4, 7, 7, 1, 6, 2, 5]
const inputIds = tensorData('int32', [BATCH, SEQ], IDS)
const labels = tensorData('int32', [BATCH, SEQ], [3, 5, 8, -100, 9, 4, 7, -100, 1, 6, 2, 5])
const following = tensorData('int32', [BATCH, SEQ], [5, 8, -100, 9, 4, -100, -100, 1, 6, 2, 5, -100])

function open(name: string): {
  model: CausalLm
  weightsOf: (traced: ReturnType<typeof trace>) => Map<string, TensorData>
} {
  const checkpoint = openCheckpoint(fileURLToPath(new URL(`../parity/${name}`, import.meta.url)))
  const { model, modelClass } = modelFromConfig(checkpoint.config)
  return {
    model: model as CausalLm,
    weightsOf: ({ parameters }) => readWeights(parameters.values(), checkpoint, modelClass),
  }
}

/** What a model of a reference folder answers to some of its inputs. */
async function answer(
  name: string,
  feeds: Record<string, TensorData>,
): Promise<{ logits: TensorData; loss?: TensorData }> {
  const { model, weightsOf } = open(name)
  const traced = trace((scope, inputs) => model.forward(scope, inputs), model.inputs, { given: Object.keys(feeds) })
  const run = await compile(traced, weightsOf(traced))
  const results = await run(feeds)
  run.release()
  return results
}

for (const name of [
  'gpt1',
  'gpt2',
  'gpt2-scaled-by-layer',
  'gpt-neo',
  'codegen',
  'llama',
  'llama-multi-query-tied',
  'qwen3-windows',
  'gemma3',
]) {
  describe(`a causal model, ${name},`, () => {
    it('answers to embeddings as to the tokens that they stand for', async () => {
      const checkpoint = openCheckpoint(fileURLToPath(new URL(`../parity/${name}`, import.meta.url)))
      const table = checkpoint.names().find((key) => /\.(wte|tokens_embed|embed_tokens)\.weight$/.test(key))
      const { shape } = checkpoint.info(table as string)
      const rows = checkpoint.read(table as string)
      const dModel = shape[1]
      const factor = name === 'gemma3' ? Math.fround(Math.sqrt(dModel)) : 1
      const data = IDS.flatMap((id) => [...rows.subarray(id * dModel, (id + 1) * dModel)].map((x) => factor * x))
      const inputsEmbeds = tensorData('float32', [BATCH, SEQ, dModel], data)
      expect((await answer(name, { inputsEmbeds })).logits.data).toEqual((await answer(name, { inputIds })).logits.data)
      checkpoint.close()
    })

    it('has one loss, whether it moves the labels or is given those that follow', async () => {
      const { loss } = await answer(name, { inputIds, labels })
      expect(loss?.data[0]).toBeGreaterThan(0.5)
      expect((await answer(name, { inputIds, shiftLabels: following })).loss?.data).toEqual(loss?.data)
      expect((await answer(name, { inputIds })).loss).toBeUndefined()
    })

    it('says what it lacks', () => {
      const { model } = open(name)
      expect(() => model.forward(Scope.root(), {})).toThrow('a language model needs inputIds, or inputsEmbeds')
      expect(() => trace((scope, inputs) => model.forward(scope, inputs), model.inputs, { given: ['labels'] })).toThrow(
        /inputIds \(or inputsEmbeds\)/,
      )
    })
  })
}

describe('gradients', () => {
  for (const name of ['gpt1', 'gpt2', 'gpt-neo', 'codegen', 'llama', 'gemma3', 't5', 't5-gated']) {
    it(`of ${name} are the same where training computes its layers again`, async () => {
      const { model, weightsOf } = open(name)
      const inputs = { inputIds: int32(BATCH, SEQ), labels: int32(BATCH, SEQ) }
      const gradients = async (recompute: boolean): Promise<[TensorData[], number]> => {
        const traced = trace((scope, given) => model.forward(scope, given), inputs, { training: true, recompute })
        const parameters = [...traced.parameters.values()].filter(({ trainable }) => trainable)
        const tensors = grad(
          traced.outputs.loss as Tensor,
          parameters.map(({ tensor }) => tensor),
        )
        const outputs = Object.fromEntries(parameters.map(({ name }, i) => [`d.${name}`, tensors[i]]))
        const run = await compile({ ...traced, outputs }, weightsOf(traced))
        const { length } = run.toOnnx()
        const results = Object.values(await run({ inputIds, labels })) as TensorData[]
        run.release()
        return [results, length]
      }
      const [kept, small] = await gradients(false)
      const [again, large] = await gradients(true)
      for (const [i, gradient] of again.entries())
        expect(relativeError(gradient, kept[i])).toBeLessThan(PARITY_TOLERANCE)
      expect(large).toBeGreaterThan(small)
    })
  }
})
