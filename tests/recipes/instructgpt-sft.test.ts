import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import sft from '../../recipes/instructgpt/sft.ts'
import { toJsonLine } from '../../src/data/instruction/conversation.ts'
import { generate, load } from '../../src/generate/text.ts'
import { loadModel } from '../../src/load/load.ts'
import { temporaryFolder } from '../hub/temporary.ts'
import { few } from './few-steps.ts'

const folder = temporaryFolder()

const COLOURS = ['red', 'blue', 'green', 'black', 'white', 'brown']
const data = join(folder, 'chat.jsonl')
const lines = COLOURS.map((colour) =>
  toJsonLine({
    messages: [
      { role: 'user', content: `Say ${colour}.` },
      { role: 'assistant', content: `It is ${colour}.` },
    ],
  }),
)
writeFileSync(data, `${lines.join('\n')}\n`)
const small = { data, model: 'jackdaw-base', batch: 2, seq: 64, evalEvery: 0, heldOut: 0.2 }

it('teaches all weights of a model, which then chats with its own template', async () => {
  const settings = { ...small, lora: 0, steps: 30, learningRate: 1e-3 }
  const { out, result } = await few('sft-full', sft, settings)
  const { before, after } = result.measured as { before: number; after: number }
  expect(result.holds).toBe(true)
  expect(after).toBeLessThan(before / 2)
  expect(readdirSync(out)).not.toContain('adapter')
  const model = await load(out)
  expect(model.canChat).toBe(true)
  let answer = ''
  for await (const text of generate(model, [{ role: 'user', content: 'Say red.' }], {
    temperature: 0,
    maxNewTokens: 20,
  })) {
    answer += text
  }
  // It ends its turn by itself.
  expect(answer).toMatch(/^It is \w+\.$/)
  const samples = readdirSync(join(out, 'samples'))
  expect(samples).toEqual(['answers-00000030.jsonl'])
  const [sample] = readFileSync(join(out, 'samples', samples[0]), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(sample.prompt).toMatch(/^Say \w+\.$/)
  expect(sample.expected).toMatch(/^It is \w+\.$/)
})

it('teaches an adapter, and saves the model with it merged, and beside it as PEFT does', async () => {
  const { out } = await few('sft-lora', sft, { ...small, lora: 4, steps: 4, learningRate: 1e-2, heldOut: 0 })
  const [merged, adapted, base] = await Promise.all(
    [out, join(out, 'adapter'), 'jackdaw-base'].map((at) => loadModel(at)),
  )
  const name = 'model.layers.0.mlp.up_proj.weight'
  const [a, b, c] = [merged, adapted, base].map(({ weights }) => (weights.get(name) as { data: Float32Array }).data)
  expect(Math.max(...a.map((value, i) => Math.abs(value - b[i])))).toBeLessThan(1e-6)
  expect(Math.max(...a.map((value, i) => Math.abs(value - c[i])))).toBeGreaterThan(1e-4)
  expect(merged.tokenizer?.chatTemplate).toContain('<|im_start|>')
  expect(merged.stopTokenIds[0]).toBe(merged.tokenizer?.idOf('<|im_end|>'))
})

it('says in one sentence what it cannot learn from', async () => {
  const wrong = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const running = (settings: object) => few(`sft-wrong-${Math.random()}`, sft, { ...small, lora: 0, ...settings })
  await expect(running({ data: 'nowhere' })).rejects.toThrow(
    "--set data=FILE: a chat file, one conversation a line; got 'nowhere'",
  )
  await expect(running({ data: wrong('empty.jsonl', '') })).rejects.toThrow('empty.jsonl is empty')
  await expect(running({ data: wrong('text.jsonl', 'Hello') })).rejects.toThrow('text.jsonl, line 1: is no JSON')
  await expect(running({ seq: 4 })).rejects.toThrow(
    'conversations has an answer within 4 tokens: a longer seq is needed',
  )
})
