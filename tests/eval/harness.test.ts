import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { type EvaluateOptions, evaluate, type TaskRun } from '../../src/eval/harness.ts'
import { resultsTable } from '../../src/eval/results.ts'
import { findTask } from '../../src/eval/tasks/index.ts'
import { ScriptedModel } from '../prompt/scripted-model.ts'

const root = mkdtempSync(join(tmpdir(), 'jackdaw-eval-'))
afterAll(() => rmSync(root, { recursive: true }))
let out = ''
let count = 0
beforeEach(() => {
  out = join(root, `${count++}`)
})

const QUESTIONS = 150
const sums = JSON.stringify(
  Array.from({ length: QUESTIONS }, (_, i) => ({ sQuestion: `What is ${i} + 1?`, lSolutions: [i + 1] })),
)
const run = (name: string, text = sums): TaskRun => ({
  task: findTask(name),
  data: { path: 'sums.json', text },
  beside: () => ({ path: 'train', text }),
})

/** Adds 1, but to multiples of 3. */
const adder = (fails = Number.POSITIVE_INFINITY) => {
  let asked = 0
  return new ScriptedModel({
    write: (prompt) => {
      if (asked++ >= fails) throw new Error('the power failed')
      const i = Number(/.*What is (\d+)/s.exec(prompt)?.[1])
      return i % 3 === 0 ? ' dunno' : ` It is ${i + 1}.`
    },
  })
}

const evaluated = (model: ScriptedModel, options: EvaluateOptions = {}, tasks = ['multiarith']) =>
  evaluate(
    model,
    tasks.map((name) => run(name)),
    options,
  )

describe('results', () => {
  it('have the shape of lm-evaluation-harness’s: scores, errors, configurations, versions, shots, numbers', async () => {
    const results = await evaluated(adder(), { modelInfo: { pretrained: 'x' } })
    const right = 100 / 150
    const stderr = Math.sqrt((right * (1 - right)) / 149)
    expect(results.results.multiarith).toEqual({
      ...{ name: 'multiarith', alias: 'multiarith', sample_len: 150 },
      'exact_match,none': expect.closeTo(right, 12),
      'exact_match_stderr,none': expect.closeTo(stderr, 12),
    })
    expect(results.configs.multiarith).toMatchObject({
      ...{ task: 'multiarith', output_type: 'generate_until', num_fewshot: 0, metadata: { version: 1 } },
    })
    expect(results).toMatchObject({
      ...{ versions: { multiarith: 1 }, 'n-shot': { multiarith: 0 }, group_subtasks: { multiarith: [] } },
      'n-samples': { multiarith: { original: 150, effective: 150 } },
      higher_is_better: { multiarith: { exact_match: true } },
      config: { model: 'jackdaw', model_args: { pretrained: 'x' }, limit: null },
    })
    const [low, high] = results.intervals.multiarith['exact_match,none']
    expect([low, high]).toEqual([expect.closeTo(0.588, 3), expect.closeTo(0.737, 3)])
  })

  it('of a group are the mean over questions, with pooled errors', async () => {
    const results = await evaluate(
      adder(),
      [
        run('multiarith'),
        run('addsub', JSON.stringify([0, 1].map((i) => ({ sQuestion: `What is ${i} + 1?`, lSolutions: [i + 1] })))),
      ],
      { groups: { sums: ['multiarith', 'addsub', 'svamp'] } },
    )
    const scores = results.results.sums
    const [value, stderr] = [scores['exact_match,none'], scores['exact_match_stderr,none']]
    expect(value).toBeCloseTo(101 / 152, 12)
    const [of150, of2] = [(2 / 9 / 149) * 149 * 150, (0.25 / 1) * 1 * 2]
    expect(stderr).toBeCloseTo(Math.sqrt((of150 + of2) / 150 / 152), 12)
    expect(results.group_subtasks.sums).toEqual(['multiarith', 'addsub', 'svamp'])
    expect(results.groups).toEqual({ sums: scores })
  })

  it('are a table', async () => {
    const table = resultsTable(await evaluated(adder(), { limit: 6 }))
    expect(table).toBe(
      [
        'task        n  shot  filter  metric          value  ± stderr  95 %              chance',
        '──────────  ─  ────  ──────  ─────────────  ──────  ────────  ────────────────  ──────',
        'multiarith  6     0  none    exact_match ↑  0.6667    0.2108  0.3000 to 0.9032\n',
      ].join('\n'),
    )
  })
})

describe('a run with a folder', () => {
  const files = () => readdirSync(out).filter((name) => name !== '.lock')

  it('that is killed goes on: what was asked is not asked again, and the results are the same', async () => {
    await expect(evaluated(adder(100), { out })).rejects.toThrow('the power failed')
    expect(files()).toEqual(['.samples_multiarith.jsonl.part'])
    // It died within a line.
    const part = join(out, '.samples_multiarith.jsonl.part')
    writeFileSync(part, `${readFileSync(part, 'utf8')}{"doc_id": 64, "do`)
    const model = adder()
    const told: number[] = []
    const results = await evaluated(model, { out, onProgress: ({ done }) => told.push(done) })
    expect(model.prompts).toHaveLength(QUESTIONS - 64)
    expect(told[0]).toBe(64)
    expect(told.at(-1)).toBe(150)
    expect(files().sort()).toEqual(['results.json', 'samples_multiarith.jsonl'])
    const whole = await evaluated(adder())
    expect(results.results).toEqual(whole.results)
    expect(JSON.parse(readFileSync(join(out, 'results.json'), 'utf8')).results).toEqual(whole.results)
    const lines = readFileSync(join(out, 'samples_multiarith.jsonl'), 'utf8').trim().split('\n')
    // What was asked is what the model read.
    expect(JSON.parse(lines[149])).toMatchObject({ arguments: [model.prompts.at(-1)], filtered_resps: ['150'] })
    expect(lines.map((line) => JSON.parse(line).doc_id)).toEqual(Array.from({ length: 150 }, (_, i) => i))
  })

  it('asks only what is new when it is asked for more, and nothing for less', async () => {
    await evaluated(adder(), { out, limit: 10 })
    const model = adder()
    const results = await evaluated(model, { out, limit: 16 })
    expect(model.prompts).toHaveLength(6)
    expect(results['n-samples'].multiarith).toEqual({ original: 150, effective: 16 })
    const idle = adder()
    expect((await evaluated(idle, { out, limit: 5 }))['n-samples'].multiarith.effective).toBe(5)
    expect(idle.prompts).toEqual([])
  })

  it('does not go on with other settings, data or another model', async () => {
    await evaluated(adder(), { out, limit: 4 })
    const refusal =
      /samples_multiarith.jsonl is of a run with other settings, data or another model: give another --out/
    await expect(evaluated(adder(), { out, limit: 4, maxNewTokens: 5 })).rejects.toThrow(refusal)
    await expect(evaluated(adder(), { out, modelInfo: { pretrained: 'y' } })).rejects.toThrow(refusal)
    await expect(evaluate(adder(), [run('multiarith', `${sums}\n`)], { out })).rejects.toThrow(refusal)
  })

  it('is one process’s', async () => {
    let second: Promise<Error> | undefined
    const model = new ScriptedModel({
      write: () => {
        second ??= evaluated(adder(), { out, limit: 1 }).catch((error) => error)
        return ''
      },
    })
    await evaluated(model, { out, limit: 1 })
    expect((await second)?.message).toContain('is in use by another evaluation')
  })

  it('that is damaged is told', async () => {
    await evaluated(adder(), { out, limit: 2 })
    writeFileSync(join(out, 'samples_multiarith.jsonl'), '[]\n')
    await expect(evaluated(adder(), { out, limit: 2 })).rejects.toThrow('line 1: is no sample of a run')
    expect(existsSync(join(out, '.samples_multiarith.jsonl.part'))).toBe(false)
  })

  it('is told what is wrong with any data before anything is asked', async () => {
    const model = adder()
    await expect(evaluate(model, [run('multiarith'), run('addsub', '[{}]')], { out })).rejects.toThrow(
      'sums.json, line 1 (entry 1): "sQuestion"',
    )
    expect(model.prompts).toEqual([])
  })
})

describe('questions are asked', () => {
  it('after demonstrations that are the same for all, and are not asked themselves', async () => {
    const model = adder()
    const results = await evaluated(model, { numFewshot: 3 })
    expect(results['n-samples'].multiarith.original).toBe(147)
    const beginnings = new Set(model.prompts.map((prompt) => prompt.slice(0, prompt.lastIndexOf('Q:'))))
    expect(beginnings.size).toBe(1)
    const [beginning] = beginnings
    expect(beginning).toMatch(/^(Q: What is \d+ \+ 1\?\nA: The answer is \d+\.\n\n){3}$/)
    for (const [, shown] of beginning.matchAll(/What is (\d+)/g)) {
      expect(model.prompts.some((prompt) => prompt.endsWith(`What is ${shown} + 1?\nA:`))).toBe(false)
    }
    await expect(evaluated(adder(), { numFewshot: 150 })).rejects.toThrow('too few for 150 demonstrations')
  })

  it('by chains of thought, whose samples vote', async () => {
    const model = new ScriptedModel({
      write: (prompt, i) => ` The answer is ${Number(/.*What is (\d+)/s.exec(prompt)?.[1]) + (i % 3 === 0 ? 0 : 1)}.`,
    })
    const results = await evaluated(model, { prompt: 'cot', samples: 3, limit: 4, numFewshot: 2 })
    expect(results.results.multiarith).toMatchObject({
      'exact_match,maj@3': 1,
      'exact_match,none': expect.closeTo(2 / 3, 12),
    })
    expect(results['n-shot'].multiarith).toBe(2)
    expect(model.prompts[0].match(/Q: /g)).toHaveLength(3)
    await expect(evaluated(adder(), { prompt: 'cot', numFewshot: 9 })).rejects.toThrow('--num-fewshot takes 1 to 8')
    await expect(evaluated(adder(), { samples: 3 })).rejects.toThrow('several samples are drawn of chains of thought')
  })

  it('by zero-shot chains of thought, in two stages', async () => {
    const model = adder()
    const results = await evaluated(model, { prompt: 'zero-shot-cot', limit: 3 })
    expect(model.prompts).toHaveLength(6)
    expect(results.results.multiarith['exact_match,none']).toBeCloseTo(2 / 3, 12)
    await expect(evaluated(adder(), { prompt: 'zero-shot-cot', numFewshot: 1 })).rejects.toThrow(
      'take no demonstrations',
    )
  })

  it('by the likelihood of their choices where they have some, or by an answer', async () => {
    const text = JSON.stringify({
      examples: [1, 0].map((yes) => ({ input: `Is it ${yes}?`, target_scores: { Yes: yes, No: 1 - yes } })),
    })
    const model = new ScriptedModel({
      score: ({ context, continuation }) => ({
        logProb: context.includes('1') === (continuation === ' Yes') ? -1 : -2,
      }),
      write: () => ' Yes.',
    })
    const direct = await evaluate(model, [run('strategyqa', text)], { unconditional: true })
    expect(direct.results.strategyqa).toMatchObject({ 'acc,none': 1, 'acc_norm,none': 1, 'acc_per_token,none': 1 })
    expect(direct.results.strategyqa).toHaveProperty('acc_mutual_info,none')
    expect(direct.chance).toEqual({ strategyqa: 0.5 })
    expect(resultsTable(direct)).toMatch(/acc ↑ +1\.0000.* 0\.5000\n/)
    expect(model.asked[0]).toEqual({ context: 'Q: Is it 1?\nA:', continuation: ' Yes' })
    const generated = await evaluate(model, [run('strategyqa', text)], { prompt: 'generate' })
    expect(generated.results.strategyqa['exact_match,none']).toBe(0.5)
  })
})

describe('texts of a user', () => {
  it('are compared in every way', async () => {
    const text = [
      { input: 'a', output: 'the cat sat on the mat' },
      { input: 'b', references: ['no', 'the dog sat down here'] },
    ]
    const model = new ScriptedModel({
      write: (prompt) => (prompt === 'a' ? ' the cat sat on the mat\n' : 'a dog sat down here'),
    })
    const jsonl = text.map((line) => JSON.stringify(line)).join('\n')
    const results = await evaluate(model, [run('generation', jsonl)], { maxNewTokens: 9, stop: ['#'], numBeams: 2 })
    const scores = results.results.generation
    expect(scores).toMatchObject({ 'exact_match,none': 0.5, 'rouge1,none': expect.closeTo((1 + 4 / 5) / 2, 12) })
    // 1- to 4-grams that are right: 6 + 4 of 11, 5 + 3 of 9, 4 + 2 of 7, 3 + 1 of 5.
    const precisions = [10 / 11, 8 / 9, 6 / 7, 4 / 5]
    expect(scores['bleu,none']).toBeCloseTo(100 * precisions.reduce((a, b) => a * b) ** 0.25, 9)
    expect(scores['bleu_stderr,none']).toBeGreaterThan(0)
    expect(model.options[0]).toMatchObject({ maxNewTokens: 9, stop: ['#'], numBeams: 2 })
    await expect(evaluate(model, [run('generation', '{"input": "a"}')])).rejects.toThrow('has no "output" and no "ref')
  })

  it('have a perplexity, window by window: 2 where every token has half of the probability', async () => {
    const results = await evaluate(new ScriptedModel({}), [run('perplexity', 'ab cd ef gh ij kl')], { seq: 5 })
    const scores = results.results.perplexity
    expect(results['n-samples'].perplexity.original).toBe(4)
    expect(scores['perplexity,none']).toBeCloseTo(2, 12)
    // 16 of 17 characters are predicted, of 6 words.
    expect(scores['bits_per_byte,none']).toBeCloseTo(16 / 17, 12)
    expect(scores['word_perplexity,none']).toBeCloseTo(2 ** (16 / 6), 9)
    expect(results.higher_is_better.perplexity.perplexity).toBe(false)
  })
})
