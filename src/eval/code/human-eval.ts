/**
 * Evaluating Large Language Models Trained on Code
 * Chen, Tworek, Jun et al., OpenAI, 2021. arXiv 2107.03374
 *
 * New over what GPT-3 is measured by (§2):
 * - a program is right when it runs: HumanEval, 164 functions to write from a docstring, each with unit tests, instead of
 *   comparing texts;
 * - pass@k: the chance that one of k samples passes, estimated without bias from n ≥ k of them (eq. 1);
 * - programs that nobody has read run in a sandbox (§2.3);
 * - nucleus sampling at p = 0.95, colder where one sample has to be right, hotter where one of many (§3.3).
 *
 * Departures: the paper runs a program and its tests as one script, in gVisor. Here they run in two interpreters that
 * exchange values (sandbox.ts), so that a program cannot say that it passed; and the model is any that writes (the paper's
 * were never released; CodeGen is the nearest).
 *
 * | paper | here |
 * |---|---|
 * | n, c, k | `samples`, `passed`, `k` |
 */

import { readFile } from 'node:fs/promises'
import { gunzipSync } from 'node:zlib'
import * as z from 'zod'
import type { SamplingOptions, ServedModel } from '../../generate/types.ts'
import { passAtK } from '../metrics/pass-at-k.ts'
import { Sandbox, type Verdict } from './sandbox.ts'

/** A problem, as the file has it. */
const Problem = z.object({
  task_id: z.string(),
  /** The beginning of a program: imports, helpers, and a function's head with its docstring. */
  prompt: z.string(),
  entry_point: z.string(),
  canonical_solution: z.string().optional(),
  /** Defines `check(candidate)`. */
  test: z.string(),
})

export type Problem = z.infer<typeof Problem>

/** §2.1: what may follow a function at the beginning of a line, and is none of it. */
export const STOPS: readonly string[] = ['\nclass', '\ndef', '\n#', '\nif', '\nprint']

/** Tokens of the longest completion. */
const MAX_NEW_TOKENS = 512

/**
 * Problems in HumanEval's format, a JSON object a line; `.gz` is unpacked.
 *
 * @throws Error with one sentence where a line is none
 */
export async function readProblems(file: string): Promise<Problem[]> {
  const bytes = await readFile(file)
  const isPacked = bytes[0] === 0x1f && bytes[1] === 0x8b
  const lines = (isPacked ? gunzipSync(bytes) : bytes).toString('utf8').split('\n')
  const problems = lines.flatMap((line, i) => (line.trim() === '' ? [] : [readProblem(line, `${file}:${i + 1}`)]))
  if (problems.length === 0) throw new Error(`${file} holds no problems`)
  const ids = problems.map(({ task_id }) => task_id)
  const twice = ids.find((id, i) => ids.indexOf(id) !== i)
  if (twice !== undefined) throw new Error(`${file} has the problem ${twice} twice`)
  return problems
}

function readProblem(line: string, where: string): Problem {
  try {
    return Problem.parse(JSON.parse(line))
  } catch (error) {
    const why =
      error instanceof z.ZodError ? `${error.issues[0].path.join('.')}: ${error.issues[0].message}` : 'no JSON'
    throw new Error(`${where} is no problem of HumanEval's format (${why})`)
  }
}

/** A completion up to where something else begins. */
export function upToStop(completion: string): string {
  const ends = STOPS.map((stop) => completion.indexOf(stop)).filter((at) => at >= 0)
  return completion.slice(0, Math.min(completion.length, ...ends))
}

/** Whether a completion solves a problem: the function that it ends does what the problem's test asks. */
export const checkCompletion = (sandbox: Sandbox, problem: Problem, completion: string): Promise<Verdict> =>
  sandbox.check(`${problem.prompt}${completion}\n`, { ...problem, entryPoint: problem.entry_point })

/** Writes what follows a prompt, up to where a stop begins. */
export type Complete = (prompt: string, sample: number, signal?: AbortSignal) => Promise<string>

/**
 * A model's completions as the paper draws them (§2.3, §3.2): nucleus 0.95, the stops; temperature 0.2, which is best for
 * pass@1, or 0.8, which is best where many samples are drawn.
 */
export const completions =
  (model: ServedModel, { samples, ...options }: { samples: number } & SamplingOptions): Complete =>
  async (prompt, sample, signal) => {
    const promptIds = await model.encode(prompt)
    const sampling = { topP: 0.95, temperature: samples >= 10 ? 0.8 : 0.2, maxNewTokens: MAX_NEW_TOKENS, ...options }
    let text = ''
    const seed = (options.seed ?? 1337) + sample
    for await (const event of model.generate({ ...sampling, stop: STOPS, seed, promptIds, signal })) {
      if (event.type === 'token') text += event.text
    }
    return text
  }

export interface HumanEvalOptions {
  /** Completions of each problem. Default 1; the paper draws 200. */
  samples?: number
  /** Which pass@k to report, where there are as many samples. Default 1, 10, 100. */
  ks?: readonly number[]
  /** Default: one of its own, which is closed at the end. */
  sandbox?: Sandbox
  onProgress?: (done: number, total: number) => void
  signal?: AbortSignal
}

export interface ProblemResult {
  readonly taskId: string
  /** Of each sample: `passed`, `timed out`, or `failed: …`. */
  readonly results: readonly string[]
  readonly completions: readonly string[]
  readonly passed: number
}

export interface HumanEvalResult {
  /** By k: the mean over the problems. */
  readonly passAtK: Readonly<Record<number, number>>
  /** The standard error of that mean, of the problems drawn. */
  readonly standardError: Readonly<Record<number, number>>
  readonly problems: readonly ProblemResult[]
}

/** Draws completions of every problem, runs them in the sandbox, and reports pass@k. */
export async function evaluateHumanEval(
  problems: readonly Problem[],
  complete: Complete,
  { samples = 1, ks = [1, 10, 100], sandbox, onProgress, signal }: HumanEvalOptions = {},
): Promise<HumanEvalResult> {
  const running = sandbox ?? new Sandbox()
  const total = problems.length * samples
  let done = 0
  const sampled = async (problem: Problem, sample: number): Promise<{ completion: string; verdict: Verdict }> => {
    const completion = upToStop(await complete(problem.prompt, sample, signal))
    signal?.throwIfAborted()
    const verdict = await checkCompletion(running, problem, completion)
    onProgress?.(++done, total)
    return { completion, verdict }
  }
  try {
    const ofProblem = async (problem: Problem): Promise<ProblemResult> => {
      const all = await Promise.all(Array.from({ length: samples }, (_, sample) => sampled(problem, sample)))
      return {
        taskId: problem.task_id,
        results: all.map(({ verdict }) => verdict.result),
        completions: all.map(({ completion }) => completion),
        passed: all.filter(({ verdict }) => verdict.passed).length,
      }
    }
    const results = await Promise.all(problems.map(ofProblem))
    const reported = ks.filter((k) => k <= samples)
    const perProblem = reported.map((k) => [k, results.map(({ passed }) => passAtK(samples, passed, k))] as const)
    return {
      passAtK: Object.fromEntries(perProblem.map(([k, values]) => [k, mean(values)])),
      standardError: Object.fromEntries(perProblem.map(([k, values]) => [k, standardError(values)])),
      problems: results,
    }
  } finally {
    if (!sandbox) running.close()
  }
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length

function standardError(values: readonly number[]): number {
  const centre = mean(values)
  const squares = values.reduce((sum, value) => sum + (value - centre) ** 2, 0)
  return Math.sqrt(squares / Math.max(1, values.length - 1) / values.length)
}
