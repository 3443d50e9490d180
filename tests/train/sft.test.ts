import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { type Conversation, JACKDAW_CHAT_TEMPLATE } from '../../src/data/instruction/conversation.ts'
import { CodeGen } from '../../src/models/codegen.ts'
import { Gemma3 } from '../../src/models/gemma3.ts'
import { GPT1 } from '../../src/models/gpt1.ts'
import { GPT2 } from '../../src/models/gpt2.ts'
import { GPT3 } from '../../src/models/gpt3.ts'
import { Llama } from '../../src/models/llama.ts'
import { Palm } from '../../src/models/palm.ts'
import { PackedTexts } from '../../src/nn/kv-cache.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { int32, trace } from '../../src/nn/trace.ts'
import { constantSchedule } from '../../src/optim/schedule.ts'
import { Trainer } from '../../src/optim/trainer.ts'
import { compile } from '../../src/runtime/compile.ts'
import { grad, type Tensor, type TensorData } from '../../src/tensor/index.ts'
import { renderChat } from '../../src/text/chat-template.ts'
import { loadTokenizer } from '../../src/text/load.ts'
import {
  encodeConversation,
  encodePrompt,
  heldOutSftLoss,
  SftBatches,
  sftInputs,
  sftObjective,
} from '../../src/train/sft.ts'
import { drawnWeights } from '../generate/tiny.ts'

const VOCAB = 20
const sizes = { vocabSize: VOCAB, maxPositions: 160, dModel: 24, nHeads: 4 }
const noDropout = { embeddingDropout: 0, attentionDropout: 0, residualDropout: 0 }
const models: Record<string, CausalLm> = {
  'GPT-2': new GPT2({ ...sizes, ...noDropout, nLayers: 2 }),
  'GPT-1': new GPT1({ ...sizes, ...noDropout, nLayers: 2 }),
  'GPT-3, layers with a window': new GPT3({ ...sizes, ...noDropout, nLayers: 2, window: 5 }),
  'LLaMA, grouped queries that turn': new Llama({ ...sizes, nLayers: 2, nKvHeads: 2, dInner: 16 }),
  'Gemma 3, layers with a window': new Gemma3({
    ...sizes,
    nLayers: 2,
    nKvHeads: 2,
    headDim: 8,
    dInner: 16,
    slidingWindow: 6,
    windowPattern: 2,
  }),
  PaLM: new Palm({ ...sizes, nLayers: 2 }),
  CodeGen: new CodeGen({ ...sizes, rotaryDim: 4, ...noDropout, nLayers: 2 }),
}

const textOf = (length: number, seed: number): number[] =>
  Array.from({ length }, (_, i) => (7 * seed + 3 * i + ((i * i) % 5)) % VOCAB)

/** Logits of rows of tokens, and the gradient of the loss of all their labels. */
async function forwardAndGradient(
  model: CausalLm,
  weights: Map<string, TensorData>,
  rows: readonly { ids: readonly number[]; labels: readonly number[]; segments: readonly number[] }[],
): Promise<{ logits: Float32Array; gradients: Map<string, Float32Array> }> {
  const [batch, seq] = [rows.length, rows[0].ids.length]
  const traced = trace(
    (scope, inputs) => {
      const segmentIds: Tensor = inputs.segmentIds
      const { logits } = model.forward(scope, inputs, { cache: new PackedTexts(segmentIds) })
      return { logits, loss: sftObjective(model)(scope, inputs).loss.sum }
    },
    sftInputs(batch, seq),
  )
  const { logits, loss } = traced.outputs
  const names = [...traced.parameters.keys()]
  const gradients = grad(
    loss,
    [...traced.parameters.values()].map(({ tensor }) => tensor),
  )
  const outputs = { logits, ...Object.fromEntries(names.map((name, i) => [`d ${name}`, gradients[i]])) }
  const run = await compile({ ...traced, outputs }, weights)
  const given = (values: readonly (readonly number[])[]): TensorData => ({
    dtype: 'int32',
    shape: [batch, seq],
    data: Int32Array.from(values.flat()),
  })
  const results = (await run({
    inputIds: given(rows.map(({ ids }) => ids)),
    shiftLabels: given(rows.map(({ labels }) => labels)),
    segmentIds: given(rows.map(({ segments }) => segments)),
  })) as Record<string, TensorData>
  run.release()
  return {
    logits: (results.logits.data as Float32Array).slice(),
    gradients: new Map(names.map((name) => [name, (results[`d ${name}`].data as Float32Array).slice()])),
  }
}

const shifted = (ids: readonly number[]): number[] => [...ids.slice(1), -100]

const expectClose = (got: Float32Array, want: Float32Array, tolerance: number): void => {
  expect(got.length).toBe(want.length)
  const scale = Math.max(1, ...want.map(Math.abs))
  expect(Math.max(...got.map((value, i) => Math.abs(value - want[i]))) / scale).toBeLessThan(tolerance)
}

describe('a packed row', () => {
  it.each(Object.entries(models))(
    'gives each text the logits, and the weights the gradients, of the text alone: %s',
    async (_, model) => {
      const weights = drawnWeights(model)
      // Long enough for attention in blocks; the last text is padding.
      const texts = [70, 9, 1, 41].map(textOf)
      const padding = 140 - texts.flat().length
      const packed = {
        ids: [...texts.flat(), ...new Array(padding).fill(0)],
        labels: [...texts.flatMap(shifted), ...new Array(padding).fill(-100)],
        segments: [...texts.flatMap((ids, i) => ids.map(() => i + 1)), ...new Array(padding).fill(0)],
      }
      const row = await forwardAndGradient(model, weights, [packed])
      const sums = new Map<string, Float32Array>()
      let at = 0
      for (const ids of texts) {
        const alone = await forwardAndGradient(model, weights, [
          { ids, labels: shifted(ids), segments: ids.map(() => 1) },
        ])
        expectClose(row.logits.subarray(at * VOCAB, (at + ids.length) * VOCAB), alone.logits, 1e-5)
        at += ids.length
        for (const [name, values] of alone.gradients) {
          const sum = sums.get(name)
          sums.set(name, sum ? sum.map((value, i) => value + values[i]) : values)
        }
      }
      for (const [name, sum] of sums) expectClose(row.gradients.get(name) as Float32Array, sum, 2e-5)
    },
  )

  it('is what the model reads without packing, where there is one text', async () => {
    const model = models['LLaMA, grouped queries that turn']
    const weights = drawnWeights(model)
    const ids = textOf(90, 3)
    const { logits } = await forwardAndGradient(model, weights, [
      { ids, labels: shifted(ids), segments: ids.map(() => 7) },
    ])
    const run = await compile(
      trace((scope, inputs) => ({ logits: model.forward(scope, inputs).logits }), { inputIds: int32(1, 90) }),
      weights,
    )
    const plain = await run({ inputIds: { dtype: 'int32', shape: [1, 90], data: Int32Array.from(ids) } })
    run.release()
    expectClose(logits, plain.logits.data as Float32Array, 1e-6)
  })

  it('still drops attention in training, where the model does', async () => {
    const model = new GPT2({ ...sizes, ...noDropout, nLayers: 1, attentionDropout: 0.5 })
    const conversations = [{ inputIds: textOf(16, 1), answer: new Array(16).fill(true) }]
    const batches = new SftBatches(conversations, { batch: 1, seq: 16 }, 1)
    const trainer = await Trainer.create({
      objective: sftObjective(model),
      inputs: sftInputs(1, 16),
      learningRate: constantSchedule(0),
      weights: drawnWeights(model),
    })
    const losses = [await trainer.train({ ...batches.batchAt(0) }), await trainer.train({ ...batches.batchAt(0) })]
    trainer.release()
    expect(losses[0].loss).not.toBe(losses[1].loss)
  })
})

const tokenizer = await loadTokenizer('weights/jackdaw-base')

const conversation: Conversation = {
  messages: [
    { role: 'system', content: 'Be brief.' },
    { role: 'user', content: 'What is 2 + 2?' },
    { role: 'assistant', content: '', toolCalls: [{ id: 'a', name: 'calculator', arguments: '{"expression":"2+2"}' }] },
    { role: 'tool', content: '4', toolCallId: 'a' },
    { role: 'assistant', content: 'It is 4.' },
    { role: 'user', content: 'Thank you!' },
    { role: 'assistant', content: 'You are welcome.' },
  ],
}

describe('encodeConversation', () => {
  const answers = (options: { template?: string }, of: Conversation = conversation): string[] => {
    const { inputIds, answer } = encodeConversation(tokenizer, of, options)
    expect(answer.length).toBe(inputIds.length)
    const runs: number[][] = []
    for (const [i, id] of inputIds.entries()) {
      if (!answer[i]) continue
      if (!answer[i - 1]) runs.push([])
      runs[runs.length - 1].push(id)
    }
    return runs.map((ids) => tokenizer.decode(ids))
  }

  it('marks what the assistant wrote: its words, its calls and the token that ends its turn, and nothing else', () => {
    expect(answers({ template: JACKDAW_CHAT_TEMPLATE })).toEqual([
      '<tool_call>{"name": "calculator", "arguments": {"expression":"2+2"}}</tool_call><|im_end|>',
      'It is 4.<|im_end|>',
      'You are welcome.<|im_end|>',
    ])
  })

  it('reads what the template writes, whole', () => {
    const { inputIds } = encodeConversation(tokenizer, conversation, { template: JACKDAW_CHAT_TEMPLATE })
    expect(tokenizer.decode(inputIds)).toContain(
      '<|im_start|>tool\n 4<|im_end|>\n<|im_start|>assistant\nIt is 4.<|im_end|>',
    )
  })

  it('tells the template of tools: the conversation’s own, or those that are given', () => {
    const tools = [{ name: 'dictionary', parameters: { type: 'object' } }]
    const text = (of: Conversation, options = {}) =>
      tokenizer.decode(encodeConversation(tokenizer, of, { template: JACKDAW_CHAT_TEMPLATE, ...options }).inputIds)
    expect(text({ ...conversation, tools })).toContain('{"name": "dictionary"')
    expect(text(conversation, { tools })).toContain('{"name": "dictionary"')
    expect(text(conversation)).not.toContain('dictionary')
  })

  it('hands calls to templates that write JSON themselves as objects', () => {
    const template = `{%- for message in messages %}{{ '<|im_start|>' + message.role + '\\n' + message.content }}{%- for call in message.tool_calls or [] %}{{ call.function.arguments | tojson }}{% endfor %}{{ '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}`
    expect(answers({ template })[0]).toBe('{"expression": "2+2"}<|im_end|>')
  })

  it('gives a token that crosses into an answer to the answer', () => {
    // The opening ends in a space, which a tokenizer of words joins to the word behind it.
    const template = `{%- for message in messages %}{{ message.role + ': ' + message.content + '<|im_end|>' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}`
    const [answer] = answers(
      { template },
      {
        messages: [
          { role: 'user', content: 'Hello' },
          { role: 'assistant', content: 'the end' },
        ],
      },
    )
    expect(answer.trimStart()).toBe('the end<|im_end|>')
  })

  it('says where a template shows no answers', () => {
    const forgets = `{%- for message in messages %}{%- if loop.last or message.role == 'user' %}{{ message.content }}{% endif %}{% endfor %}`
    expect(() => encodeConversation(tokenizer, conversation, { template: forgets })).toThrow(
      /^the chat template writes the first \d messages in another way once the conversation goes on/,
    )
    expect(() => encodeConversation(tokenizer, conversation)).toThrow('the model has no chat template')
  })

  it('begins every answer where the model will be asked to go on', () =>
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.string({ maxLength: 20 }), fc.string({ maxLength: 20 })), { minLength: 1, maxLength: 4 }),
        (turns) => {
          const messages = turns.flatMap(([user, assistant]) => [
            { role: 'user' as const, content: user },
            { role: 'assistant' as const, content: assistant },
          ])
          const { inputIds, answer } = encodeConversation(tokenizer, { messages }, { template: JACKDAW_CHAT_TEMPLATE })
          const firsts = answer.flatMap((is, i) => (is && !answer[i - 1] ? [i] : []))
          expect(firsts.length).toBe(turns.length)
          for (const [turn, first] of firsts.entries()) {
            const asked = renderChat(JACKDAW_CHAT_TEMPLATE, messages.slice(0, 2 * turn + 1), {
              addGenerationPrompt: true,
            })
            expect(tokenizer.decode(inputIds.slice(0, first))).toBe(asked)
            const upToHere = { messages: messages.slice(0, 2 * turn + 1) }
            expect(tokenizer.decode(encodePrompt(tokenizer, upToHere, { template: JACKDAW_CHAT_TEMPLATE }))).toBe(asked)
          }
        },
      ),
      { numRuns: 60 },
    ))
})

describe('SftBatches', () => {
  const conversations = (lengths: readonly number[]) =>
    lengths.map((length, k) => ({
      inputIds: Array.from({ length }, (_, t) => 1000 * (k + 1) + t),
      answer: Array.from({ length }, (_, t) => t >= length / 2),
    }))

  it('reads every conversation once an epoch, whole, apart from others, and asks for its answers alone', () =>
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 2, max: 16 }), { minLength: 1, maxLength: 30 }),
        fc.integer({ min: 1, max: 3 }),
        fc.nat({ max: 1000 }),
        (lengths, batch, seed) => {
          const all = conversations(lengths)
          const loader = new SftBatches(all, { batch, seq: 16 }, seed)
          const seen = new Map<number, number>()
          const epochs = batch // so that epochs end with a batch
          for (let step = 0; step < loader.rowsPerEpoch; step++) {
            const { inputIds, shiftLabels, segmentIds, answerAt, answerLabels } = loader.batchAt(step)
            for (let at = 0; at < inputIds.length; at++) {
              if (segmentIds[at] === 0) {
                expect([inputIds[at], shiftLabels[at]]).toEqual([0, -100])
                continue
              }
              const [k, t] = [Math.floor(inputIds[at] / 1000) - 1, inputIds[at] % 1000]
              seen.set(inputIds[at], (seen.get(inputIds[at]) ?? 0) + 1)
              if (t > 0) expect([inputIds[at - 1], segmentIds[at - 1]]).toEqual([inputIds[at] - 1, segmentIds[at]])
              else if (at % 16 > 0) expect(segmentIds[at - 1]).not.toBe(segmentIds[at])
              const next = t + 1 < lengths[k] && all[k].answer[t + 1] ? inputIds[at] + 1 : -100
              expect(shiftLabels[at]).toBe(next)
            }
            const told = [...shiftLabels.entries()].filter(([, label]) => label >= 0)
            expect(
              [...answerAt.entries()].flatMap(([i, at]) => (answerLabels[i] < 0 ? [] : [[at, answerLabels[i]]])),
            ).toEqual(told)
            expect([answerAt.length, answerLabels.length]).toEqual([loader.answers, loader.answers])
          }
          expect(seen.size).toBe(lengths.reduce((sum, length) => sum + length, 0))
          expect(new Set(seen.values())).toEqual(new Set([epochs]))
        },
      ),
      { numRuns: 60 },
    ))

  it('leaves no row that would have fitted into one before it', () => {
    const loader = new SftBatches(conversations([9, 7, 3, 12, 4, 2, 8, 8, 5, 6]), { batch: 1, seq: 16 }, 3)
    expect(loader.rowsPerEpoch).toBeLessThanOrEqual(5) // 64 tokens in rows of 16
    expect(loader.filled).toBeCloseTo(64 / (16 * loader.rowsPerEpoch))
  })

  it('gives a batch from the seed and the step alone, in another order every epoch', () => {
    const all = conversations(Array.from({ length: 40 }, (_, i) => 9 + (i % 8)))
    const [one, other] = [1, 2].map(() => new SftBatches(all, { batch: 2, seq: 16 }, 5))
    const later = one.batchAt(31)
    for (const step of [0, 25, 3]) one.batchAt(step)
    expect(one.batchAt(31)).toEqual(later)
    expect(other.batchAt(31)).toEqual(later)
    expect(new SftBatches(all, { batch: 2, seq: 16 }, 6).batchAt(31)).not.toEqual(later)
    expect(one.batchAt(0)).not.toEqual(one.batchAt(one.rowsPerEpoch / 2))
    expect(one.stepsOf(3)).toBe((3 * one.rowsPerEpoch) / 2)
  })

  it('cuts what is too long and counts it, and leaves out what then has no answer', () => {
    const loader = new SftBatches(conversations([10, 20, 40]), { batch: 1, seq: 16 }, 1)
    expect([loader.truncated, loader.dropped]).toEqual([2, 1])
    expect(() => new SftBatches(conversations([40]), { batch: 1, seq: 16 }, 1)).toThrow(
      'none of 1 conversations has an answer within 16 tokens: a longer seq is needed',
    )
  })
})

it('steps alike whether logits are computed everywhere, or where answers go on', async () => {
  const model = models['LLaMA, grouped queries that turn']
  const conversations = [9, 14, 30, 5, 21].map((length, k) => ({
    inputIds: textOf(length, k),
    answer: Array.from({ length }, (_, t) => t % 7 > 3),
  }))
  const batches = new SftBatches(conversations, { batch: 2, seq: 32 }, 1)
  const steps = await Promise.all(
    [undefined, batches.answers].map(async (answers) => {
      const trainer = await Trainer.create({
        objective: sftObjective(model),
        inputs: sftInputs(2, 32, answers),
        learningRate: constantSchedule(1e-3),
        weights: drawnWeights(model),
      })
      const results = [await trainer.train({ ...batches.batchAt(0) }), await trainer.train({ ...batches.batchAt(1) })]
      trainer.release()
      return results
    }),
  )
  for (const [i, { loss, gradNorm }] of steps[0].entries()) {
    expect(steps[1][i].loss).toBeCloseTo(loss, 5)
    expect(steps[1][i].gradNorm / gradNorm).toBeCloseTo(1, 4)
  }
  expect(batches.answers).toBeLessThan(40)
})

it('teaches a model to answer, and not to ask', async () => {
  const model = new Llama({ ...sizes, nLayers: 1, nKvHeads: 2, dInner: 32 })
  // What is asked is chance; the answer is the same again.
  const conversations = Array.from({ length: 64 }, (_, k) => {
    const asked = (7 * k + (k >> 3)) % 12
    return { inputIds: [15, asked, 16, asked, 17], answer: [false, false, false, true, true] }
  })
  const batches = new SftBatches(conversations, { batch: 4, seq: 17 }, 1)
  const trainer = await Trainer.create({
    objective: sftObjective(model),
    inputs: sftInputs(4, 17, batches.answers),
    learningRate: constantSchedule(0.01),
    weightDecay: 0,
  })
  const evaluate = heldOutSftLoss(new SftBatches(conversations, { batch: 2, seq: 17 }, 2))
  const before = await evaluate(trainer)
  for (let step = 0; step < 80; step++) await trainer.train({ ...batches.batchAt(step) })
  const after = await evaluate(trainer)
  trainer.release()
  expect(before.valLoss).toBeGreaterThan(2)
  // One of twelve at every question would leave 2.5 / 3 of it, were they counted.
  expect(after.valLoss).toBeLessThan(0.1)
})
