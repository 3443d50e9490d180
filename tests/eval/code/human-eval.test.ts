import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  checkCompletion,
  completions,
  evaluateHumanEval,
  type Problem,
  readProblems,
  upToStop,
} from '../../../src/eval/code/human-eval.ts'
import { Sandbox } from '../../../src/eval/code/sandbox.ts'
import type { GenerationRequest, ServedModel } from '../../../src/generate/types.ts'
import { lacksShared, sharedPath } from '../../shared.ts'

const FILE = 'data/code/HumanEval.jsonl.gz'

/** In the style of HumanEval's problems: a helper, one way to be right, several to be wrong. */
const PROBLEMS: Problem[] = [
  {
    task_id: 'Test/0',
    prompt:
      'def double(x: int) -> int:\n    return 2 * x\n\n\ndef quadruple(x: int) -> int:\n    """Four times x."""\n',
    entry_point: 'quadruple',
    canonical_solution: '    return double(double(x))\n',
    test: 'def check(candidate):\n    for x in range(5):\n        assert candidate(x) == double(double(x))\n',
  },
  {
    task_id: 'Test/1',
    prompt: 'from typing import List\n\n\ndef largest(values: List[int]) -> int:\n    """The largest."""\n',
    entry_point: 'largest',
    canonical_solution: '    return max(values)\n',
    test: 'def check(candidate):\n    assert candidate([1, 3, 2]) == 3\n    assert candidate([-1]) == -1\n',
  },
]

let sandbox: Sandbox
beforeAll(() => {
  sandbox = new Sandbox({ workers: 2, timeoutMs: 10_000 })
})
afterAll(() => sandbox.close())

describe('completions', () => {
  it('end where something else begins', () => {
    expect(upToStop('    return 1\n\ndef other():\n    pass')).toBe('    return 1\n')
    expect(upToStop('    return 1\n# more\nclass X:')).toBe('    return 1')
    expect(upToStop('    if x:\n        print(x)\n    return 1')).toBe('    if x:\n        print(x)\n    return 1')
    expect(upToStop('    a\nif x\nprint')).toBe('    a')
    expect(upToStop('')).toBe('')
  })

  it('are drawn as the paper draws them: nucleus 0.95, its stops, colder for one sample than for many', async () => {
    const asked: GenerationRequest[] = []
    const model = {
      encode: (text: string) => [...Buffer.from(text)],
      async *generate(request: GenerationRequest) {
        asked.push(request)
        yield { type: 'token', id: 1, text: '    return 1' } as const
      },
    } as unknown as ServedModel
    expect(await completions(model, { samples: 1 })('def f():', 0)).toBe('    return 1')
    await completions(model, { samples: 200, seed: 5 })('def f():', 3)
    await completions(model, { samples: 1, temperature: 0.5 })('def f():', 0)
    expect(asked.map(({ topP, temperature, seed }) => ({ topP, temperature, seed }))).toEqual([
      { topP: 0.95, temperature: 0.2, seed: 1337 },
      { topP: 0.95, temperature: 0.8, seed: 8 },
      { topP: 0.95, temperature: 0.5, seed: 1337 },
    ])
    expect(asked[0].stop).toEqual(['\nclass', '\ndef', '\n#', '\nif', '\nprint'])
  })
})

describe('a file of problems', () => {
  const folder = mkdtempSync(join(tmpdir(), 'jackdaw-problems-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const written = (text: string): string => {
    const file = join(folder, 'problems.jsonl')
    writeFileSync(file, text)
    return file
  }

  it('is a problem a line, blank lines apart', async () => {
    const lines = PROBLEMS.map((problem) => JSON.stringify(problem))
    expect(await readProblems(written(`${lines.join('\n\n')}\n`))).toEqual(PROBLEMS)
  })

  it('that is none is told where it is wrong', async () => {
    const [line] = PROBLEMS.map((problem) => JSON.stringify(problem))
    await expect(readProblems(written('\n'))).rejects.toThrow('holds no problems')
    await expect(readProblems(written(`${line}\n{"task_id": 3}`))).rejects.toThrow(/jsonl:2 is no problem .*task_id/)
    await expect(readProblems(written('def f():'))).rejects.toThrow('no JSON')
    await expect(readProblems(written(`${line}\n${line}`))).rejects.toThrow('Test/0 twice')
  })
})

describe('HumanEval', () => {
  it('gives a model whose completions are known the pass@k that they have', async () => {
    // Of four samples of each problem, three pass of the first and one of the second.
    const wrong = ['    return 0\n', '    raise ValueError("no")\n', '    return (\n']
    const right = PROBLEMS.map(({ canonical_solution }) => canonical_solution as string)
    const canned = [
      [right[0], `${right[0]}\ndef next_one():\n    syntax error`, '    return x * 4\n', wrong[1]],
      [wrong[0], right[1], wrong[1], wrong[2]],
    ]
    const told: number[] = []
    const { passAtK, standardError, problems } = await evaluateHumanEval(
      PROBLEMS,
      async (prompt, sample) => canned[PROBLEMS.findIndex((problem) => problem.prompt === prompt)][sample],
      { samples: 4, ks: [1, 2, 4, 100], sandbox, onProgress: (done) => told.push(done) },
    )
    expect(problems.map(({ passed }) => passed)).toEqual([3, 1])
    expect(passAtK).toEqual({ 1: (3 / 4 + 1 / 4) / 2, 2: (1 + 0.5) / 2, 4: 1 })
    expect(standardError[1]).toBeCloseTo(0.25, 12)
    expect(problems[1].results).toEqual([
      'failed: AssertionError (line 2)',
      'passed',
      'failed: ValueError: no (line 2)',
      expect.stringMatching(/^failed: SyntaxError: /),
    ])
    expect(told).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  it.skipIf(lacksShared(FILE))(
    'all 164 canonical solutions pass, and none with its body gone',
    async () => {
      const problems = await readProblems(sharedPath(FILE))
      expect(problems.length).toBe(164)
      const of = (complete: (problem: Problem) => string) =>
        Promise.all(
          problems.map(async (problem) => {
            const { result } = await checkCompletion(sandbox, problem, complete(problem))
            return [problem.task_id, result]
          }),
        )
      const passed = problems.map(({ task_id }) => [task_id, 'passed'])
      expect(await of(({ canonical_solution }) => canonical_solution as string)).toEqual(passed)
      const hollow = await of(() => '    return None\n')
      expect(hollow.filter(([, result]) => result === 'passed')).toEqual([])
    },
    600_000,
  )

  it.skipIf(lacksShared(FILE))(
    'a test whose answers are changed fails the canonical solution',
    async () => {
      const problems = await readProblems(sharedPath(FILE))
      /** `assert X == Y` becomes `assert X != Y` at the last place: the solution is right, the test is wrong. */
      const broken = problems.flatMap((problem) => {
        const at = problem.test.lastIndexOf(' == ')
        if (at < 0 || !problem.test.slice(0, at).includes('assert')) return []
        return [{ ...problem, test: `${problem.test.slice(0, at)} != ${problem.test.slice(at + 4)}` }]
      })
      expect(broken.length).toBeGreaterThan(120)
      const passed: string[] = []
      await Promise.all(
        broken.map(async (problem) => {
          const verdict = await checkCompletion(sandbox, problem, problem.canonical_solution as string)
          if (verdict.passed) passed.push(problem.task_id)
        }),
      )
      expect(passed).toEqual([])
    },
    600_000,
  )
})
