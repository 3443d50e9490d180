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

import { z } from 'zod'
import type { LanguageModel, WorkOptions } from '../../prompt/language-model.ts'
import { type DataFile, openDataFile, readJsonLines } from '../data-file.ts'
import { passAtK } from '../metrics/pass-at-k.ts'
import { meanOf } from '../statistics.ts'
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
/** From so many samples on they are drawn hot: one of many has to be right. */
const MANY = 10
const DEFAULT_SEED = 1337

/**
 * Problems in HumanEval's format, a JSON object a line; a file may be packed (`.gz`).
 *
 * @throws Error with one sentence where a line is none
 */
export function readProblems(file: string | DataFile): Problem[] {
  const data = typeof file === 'string' ? openDataFile(file) : file
  const problems = readJsonLines(data, Problem)
  const ids = problems.map(({ task_id }) => task_id)
  const twice = ids.find((id, i) => ids.indexOf(id) !== i)
  if (twice !== undefined) throw new Error(`${data.path}: has the problem ${twice} twice`)
  return problems
}

/** A completion up to where something else begins. */
export function upToStop(completion: string): string {
  const ends = STOPS.map((stop) => completion.indexOf(stop)).filter((at) => at >= 0)
  return completion.slice(0, Math.min(completion.length, ...ends))
}

/** Whether a completion solves a problem: the function that it ends does what the problem's test asks. */
export const checkCompletion = (sandbox: Sandbox, problem: Problem, completion: string): Promise<Verdict> =>
  sandbox.check(`${problem.prompt}${completion}\n`, { ...problem, entryPoint: problem.entry_point })

/** Continues prompts, each up to where a stop begins. A prompt that is there several times is continued several times. */
export type Complete = (prompts: readonly string[], work?: WorkOptions) => Promise<readonly string[]>

export interface DrawSettings {
  /** Completions of each problem. Default 1; the paper draws 200. */
  samples?: number
  /** Default 0.2, which is best for pass@1; 0.8 where many samples are drawn. */
  temperature?: number
  maxNewTokens?: number
  seed?: number
}

/** A model's completions as the paper draws them (§2.3, §3.3): nucleus 0.95, its stops. */
export const completions =
  (
    model: Pick<LanguageModel, 'generate'>,
    { samples = 1, temperature, maxNewTokens, seed }: DrawSettings = {},
  ): Complete =>
  (prompts, work) =>
    model.generate(prompts, {
      ...{ topP: 0.95, temperature: temperature ?? (samples >= MANY ? 0.8 : 0.2), stop: STOPS },
      ...{ maxNewTokens: maxNewTokens ?? MAX_NEW_TOKENS, seed: seed ?? DEFAULT_SEED, ...work },
    })

export interface SolveOptions extends WorkOptions {
  samples?: number
  sandbox: Sandbox
}

export interface ProblemResult {
  readonly taskId: string
  readonly completions: readonly string[]
  /** Of each: `passed`, `timed out`, or `failed: …`. */
  readonly results: readonly string[]
  readonly passed: number
}

/** Draws completions of problems, and runs them. */
export async function solve(
  problems: readonly Problem[],
  complete: Complete,
  { samples = 1, sandbox, onProgress, signal }: SolveOptions,
): Promise<ProblemResult[]> {
  const total = problems.length * samples
  const prompts = problems.flatMap(({ prompt }) => new Array<string>(samples).fill(prompt))
  // Writing and running count half each.
  const texts = await complete(prompts, { signal, onProgress: (done) => onProgress?.(done / 2, total) })
  let run = 0
  const checked = async (problem: Problem, sample: number): Promise<{ completion: string; verdict: Verdict }> => {
    const completion = upToStop(texts[sample])
    const verdict = await checkCompletion(sandbox, problem, completion)
    signal?.throwIfAborted()
    onProgress?.((total + ++run) / 2, total)
    return { completion, verdict }
  }
  return Promise.all(
    problems.map(async (problem, i): Promise<ProblemResult> => {
      const all = await Promise.all(Array.from({ length: samples }, (_, j) => checked(problem, i * samples + j)))
      return {
        taskId: problem.task_id,
        completions: all.map(({ completion }) => completion),
        results: all.map(({ verdict }) => verdict.result),
        passed: all.filter(({ verdict }) => verdict.passed).length,
      }
    }),
  )
}

export interface HumanEvalOptions extends WorkOptions {
  samples?: number
  /** Which pass@k to report, where there are as many samples. Default 1, 10, 100. */
  ks?: readonly number[]
  /** Default: one of its own, which is closed at the end. */
  sandbox?: Sandbox
}

export interface HumanEvalResult {
  /** By k: the mean over the problems, and its standard error. */
  readonly passAtK: Readonly<Record<number, { readonly value: number; readonly stderr: number }>>
  readonly problems: readonly ProblemResult[]
}

/** Those of the paper for which there are enough samples. */
export const ksFor = (samples: number, ks: readonly number[] = [1, 10, 100]): number[] => ks.filter((k) => k <= samples)

/** Problems whose completions are written at a time: they are in memory together. */
const TOGETHER = 32

/** HumanEval: draws completions of every problem, runs them in the sandbox, and reports pass@k. */
export async function evaluateHumanEval(
  problems: readonly Problem[],
  complete: Complete,
  { samples = 1, ks, sandbox: given, onProgress, signal }: HumanEvalOptions = {},
): Promise<HumanEvalResult> {
  const sandbox = given ?? new Sandbox()
  const results: ProblemResult[] = []
  try {
    for (let start = 0; start < problems.length; start += TOGETHER) {
      const part = problems.slice(start, start + TOGETHER)
      const tell = (done: number): void => onProgress?.(start * samples + done, problems.length * samples)
      results.push(...(await solve(part, complete, { samples, sandbox, signal, onProgress: tell })))
    }
  } finally {
    if (!given) sandbox.close()
  }
  const estimate = (k: number) => meanOf(results.map(({ passed }) => passAtK(samples, passed, k)))
  return { passAtK: Object.fromEntries(ksFor(samples, ks).map((k) => [k, estimate(k)])), problems: results }
}
