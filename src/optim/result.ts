import { existsSync, readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { basename, join } from 'node:path'
import { z } from 'zod'
import { packageRoot } from '../hub/open.ts'
import { defaultThreads } from '../runtime/threads.ts'
import type { CommonSettings } from './recipe.ts'

/** result.json: what a run claimed and what came out, and what must be known to get it again. */

const NUMBERS = z.record(z.string(), z.number().nullable())
const SETTINGS = z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))

export const FIGURE = z.object({
  title: z.string(),
  x: z.string(),
  logX: z.boolean().optional(),
  lines: z.record(z.string(), z.array(z.tuple([z.number(), z.number()]))),
})

const RESULT_SCHEMA = z.object({
  recipe: z.string(),
  paper: z.string(),
  claim: z.string(),
  state: z.enum(['running', 'stopped', 'failed', 'finished']),
  /** Whether what came out is what was claimed; missing until the recipe says so. */
  holds: z.boolean().optional(),
  measured: NUMBERS.optional(),
  figures: z.array(FIGURE).optional(),
  /** How far it is, while it goes. */
  stage: z.string().optional(),
  step: z.number(),
  /** Of the latest evaluation. */
  scores: NUMBERS.optional(),
  error: z.string().optional(),
  settings: SETTINGS,
  seed: z.number(),
  /** Of computing, over all the times that the run was resumed. */
  seconds: z.number(),
  machine: z.object({
    processor: z.string(),
    threads: z.number(),
    memoryGib: z.number(),
    platform: z.string(),
    provider: z.string(),
  }),
  versions: z.object({ node: z.string(), jackdaw: z.string() }),
  /** The day it was written. */
  date: z.string(),
})

export type RunResult = z.infer<typeof RESULT_SCHEMA>

export const RESULT = 'result.json'

/** What is known at the start. */
export function newResult(
  { recipe, paper, claim, settings }: { recipe: string; paper: string; claim: string; settings: CommonSettings },
  provider: string = process.env.JACKDAW_PROVIDER ?? 'cpu',
): RunResult {
  const version = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')).version as string
  return {
    recipe,
    paper,
    claim,
    state: 'running',
    step: 0,
    // Results are published beside their recipes: where the data lay on somebody's disk is not.
    settings: { ...settings, data: basename(settings.data) },
    seed: settings.seed,
    seconds: 0,
    machine: {
      processor: cpus()[0]?.model.trim() ?? 'unknown',
      threads: defaultThreads(),
      memoryGib: Math.round(totalmem() / 2 ** 30),
      platform: `${process.platform} ${process.arch}`,
      provider,
    },
    versions: { node: process.versions.node, jackdaw: version },
    date: new Date().toISOString().slice(0, 10),
  }
}

/**
 * A result.json, or undefined where there is none.
 *
 * @throws Error where the file is none
 */
export function readResult(path: string): RunResult | undefined {
  if (!existsSync(path)) return undefined
  try {
    return RESULT_SCHEMA.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    throw new Error(`${path} is damaged: remove it, or take it from the run again`)
  }
}
