import { join } from 'node:path'
import { expect, it } from 'vitest'
import unseenCluster from '../../recipes/flan/unseen-cluster.ts'
import mixedPrompts from '../../recipes/flan-collection/mixed-prompts.ts'
import exemplarsRationales from '../../recipes/flan-t5/exemplars-rationales.ts'
import { few, kindOf, linesOf } from './few-steps.ts'

const small = { pretrainSteps: 2, steps: 2, batch: 2, dModel: 16, nHeads: 2, dInner: 24, nLayers: 1 }

it('a cluster is held out, and the base model measured beside the tuned one', async () => {
  const { out, result } = await few('unseen-cluster', unseenCluster, { ...small, tests: 6 })
  const { tuned, base, baseContinuing, chance } = result.measured ?? {}
  for (const share of [tuned, base, baseContinuing]) expect(Number(share) >= 0 && Number(share) <= 1).toBe(true)
  expect(chance).toBe(1 / 4)
  expect(Object.keys(linesOf(result))).toEqual(['tuned', 'chance'])
  expect(await kindOf(join(out, 'stages', 'instructions', 'seed2'))).toBe('causal')
}, 60_000)

it('one base is tuned on three kinds of prompts and asked in two ways', async () => {
  const { out, result } = await few('mixed-prompts', mixedPrompts, { ...small, tests: 3 })
  const tunings = ['zero-shot', 'few-shot', 'mixed']
  const asked = ['base', ...tunings].flatMap((name) => [`${name}, asked zero-shot`, `${name}, asked few-shot`])
  expect(Object.keys(result.measured ?? {})).toEqual(asked)
  expect(Object.keys(linesOf(result))).toEqual(tunings)
  for (const name of tunings) expect(await kindOf(join(out, 'stages', name, 'seed1'))).toBe('causal')
}, 60_000)

it('a T5 is tuned with and without exemplars and rationales, and asked in four ways', async () => {
  const settings = { ...small, problems: 20, tests: 3 }
  const { out, result } = await few('exemplars-rationales', exemplarsRationales, settings)
  const tunings = ['answers', 'answers, exemplars', 'rationales', 'rationales, exemplars']
  const ways = ['answer', 'reasoning', 'answer, exemplar', 'reasoning, exemplar']
  const table = tunings.flatMap((tuning) => ways.map((way) => `${tuning}: ${way}`))
  expect(Object.keys(result.measured ?? {})).toEqual(table)
  expect(await kindOf(join(out, 'stages', 'rationales-exemplars', 'seed2'))).toBe('encoder-decoder')
}, 60_000)
