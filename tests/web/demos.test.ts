import { expect, it } from 'vitest'
import { searchBeams } from '../../src/generate/beam.ts'
import { PAPERS } from '../../src/papers.ts'
import { demosOf } from '../../web/src/demos/index.ts'
import { BeamTree } from '../../web/src/demos/parts/beam-tree.ts'
import { mostExamples, promptsOf, tasks } from '../../web/src/demos/parts/few-shot-tasks.ts'
import { percent, spoken, visible } from '../../web/src/demos/parts/token-text.ts'

it('every demo is shown on the page of a paper of the list', () => {
  const shown = PAPERS.flatMap(({ slug }) => demosOf(slug))
  expect(new Set(shown.map(({ name }) => name)).size).toBeGreaterThan(4)
  expect(demosOf('constructor')).toEqual([])
})

it('a tree of beams has every sequence that was followed under the one that it continues', async () => {
  const logits = (...rows: number[][]) => Float32Array.from(rows.flat())
  const tree = new BeamTree()
  // Of three tokens, the second is likely first, and leads nowhere.
  const [best] = await searchBeams(
    logits([1, 2, 0]),
    async (tokens) => logits(...tokens.map((id) => (id === 0 ? [9, 0, 0] : [0, 0, 0]))),
    {
      ...{ nBeams: 2, maxNewTokens: 2 },
      onStep: tree.add,
    },
  )
  tree.mark(best)
  expect(tree.steps.map((nodes) => nodes.map(({ id, parent, row }) => [id, parent?.id ?? null, row]))).toEqual([
    [
      [1, null, 0],
      [0, null, 1],
    ],
    [
      [0, 1, 0],
      [0, 0, 1],
    ],
  ])
  expect(best.ids).toEqual([0, 0])
  expect(
    tree.steps
      .flat()
      .filter(({ isBest }) => isBest)
      .map(({ step, id }) => [step, id]),
  ).toEqual([
    [1, 0],
    [2, 0],
  ])
})

it('a prompt with one example more is the same prompt with one line before it, and never asks what it tells', () => {
  for (const task of tasks) {
    for (let count = 0; count < mostExamples; count++) {
      const [fewer, more] = [promptsOf(task, count, false), promptsOf(task, count + 1, false)]
      for (const [i, { text, answer }] of more.entries()) {
        expect(text.endsWith(fewer[i].text)).toBe(true)
        expect(text.split('\n')).toHaveLength(count + 2)
        const question = fewer[i].text.split('\n').at(-1)
        expect(text).not.toContain(`${question}${answer}`)
      }
    }
    for (const [asked, answer] of task.pairs.slice(0, 4)) {
      expect(promptsOf(task, mostExamples, true)[5].text).not.toContain(`${asked}: ${answer}\n`)
    }
  }
})

it('tokens can be seen, and heard', () => {
  expect([' a', '\n', '', '\t'].map(visible)).toEqual(['·a', '⏎', '∅', '⇥'])
  expect([' a', '\n', '', '  '].map(spoken)).toEqual(['a', 'line end', 'nothing', 'space'])
  expect([0.5, 0.0321, 0.0001].map(percent)).toEqual(['50 %', '3.2 %', 'under 0.1 %'])
})
