import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  checkCompletion,
  completions,
  evaluateHumanEval,
  type Problem,
  readProblems,
  STOPS,
  upToStop,
} from '../../../src/eval/code/human-eval.ts'
import { Sandbox } from '../../../src/eval/code/sandbox.ts'
import { evaluate } from '../../../src/eval/harness.ts'
import { findTask } from '../../../src/eval/tasks/index.ts'
import type { WriteOptions } from '../../../src/prompt/language-model.ts'
import { ScriptedModel } from '../../prompt/scripted-model.ts'
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
    const asked: WriteOptions[] = []
    const generate = async (prompts: readonly string[], options: WriteOptions = {}) => {
      asked.push(options)
      return prompts.map(() => '    return 1')
    }
    expect(await completions({ generate })(['def f():', 'def g():'])).toEqual(['    return 1', '    return 1'])
    await completions({ generate }, { samples: 200, seed: 5 })(['def f():'])
    await completions({ generate }, { temperature: 0.5, maxNewTokens: 9 })(['def f():'])
    expect(asked).toEqual([
      { topP: 0.95, temperature: 0.2, seed: 1337, maxNewTokens: 512, stop: STOPS },
      { topP: 0.95, temperature: 0.8, seed: 5, maxNewTokens: 512, stop: STOPS },
      { topP: 0.95, temperature: 0.5, seed: 1337, maxNewTokens: 9, stop: STOPS },
    ])
    expect(STOPS).toEqual(['\nclass', '\ndef', '\n#', '\nif', '\nprint'])
  })
})

describe('a file of problems', () => {
  const folder = mkdtempSync(join(tmpdir(), 'jackdaw-problems-'))
  afterAll(() => rmSync(folder, { recursive: true }))
  const written = (text: string | Uint8Array): string => {
    const file = join(folder, 'problems.jsonl')
    writeFileSync(file, text)
    return file
  }

  it('is a problem a line, blank lines apart', () => {
    const lines = PROBLEMS.map((problem) => JSON.stringify(problem))
    expect(readProblems(written(`${lines.join('\n\n')}\n`))).toEqual(PROBLEMS)
    expect(readProblems(written(gzipSync(lines.join('\n'))))).toEqual(PROBLEMS)
  })

  it('that is none is told where it is wrong', () => {
    const [line] = PROBLEMS.map((problem) => JSON.stringify(problem))
    const read = (text: string) => () => readProblems(written(text))
    expect(read('\n')).toThrow('is empty')
    expect(read(`${line}\n{"task_id": 3}`)).toThrow(/jsonl, line 2: "task_id"/)
    expect(read('def f():')).toThrow('line 1: is not JSON')
    expect(read(`${line}\n${line}`)).toThrow('has the problem Test/0 twice')
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
    const { passAtK, problems } = await evaluateHumanEval(PROBLEMS, async () => canned.flat(), {
      ...{ samples: 4, ks: [1, 2, 4, 100], sandbox, onProgress: (done: number) => told.push(done) },
    })
    expect(problems.map(({ passed }) => passed)).toEqual([3, 1])
    const values = Object.entries(passAtK).map(([k, { value }]) => [Number(k), value])
    expect(values).toEqual([
      [1, (3 / 4 + 1 / 4) / 2],
      [2, (1 + 0.5) / 2],
      [4, 1],
    ])
    expect(passAtK[1].stderr).toBeCloseTo(0.25, 12)
    expect(problems[1].results).toEqual([
      'failed: AssertionError (line 2)',
      'passed',
      'failed: ValueError: no (line 2)',
      expect.stringMatching(/^failed: SyntaxError: /),
    ])
    expect(told).toEqual([4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8])
  })

  it('is a task of the harness, with the samples and what became of them', async () => {
    const { results, configs } = await evaluate(
      new ScriptedModel({
        write: (prompt) => (prompt.includes('largest') ? '    return max(values)' : '    return 0'),
      }),
      [
        {
          task: findTask('humaneval'),
          data: { path: 'problems', text: PROBLEMS.map((problem) => JSON.stringify(problem)).join('\n') },
          beside: () => ({ path: '', text: '' }),
        },
      ],
      { samples: 2 },
    )
    expect(results.humaneval).toMatchObject({ 'pass@1,none': 0.5, 'pass@1_stderr,none': 0.5, sample_len: 2 })
    expect(configs.humaneval).toMatchObject({ samples: 2, top_p: 0.95, output_type: 'generate_until' })
  })

  it.skipIf(lacksShared(FILE))(
    'all 164 canonical solutions pass, and none with its body gone',
    async () => {
      const problems = readProblems(sharedPath(FILE))
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
      const problems = readProblems(sharedPath(FILE))
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
