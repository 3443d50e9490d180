import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { toolsetOf } from '../agent/toolset.ts'
import { readJsonObject } from '../hub/safetensors.ts'
import type { Toolset } from './types.ts'

const toolsetFile = z.object({
  tools: z.array(z.string().max(64)).min(1).max(64),
  examples: z.array(z.string().min(1).max(300)).max(16).default([]),
})

/**
 * The tools that a model was taught, of `toolset.json` in its folder; undefined where there is none.
 *
 * @throws Error with one sentence where the file is wrong, or names a tool that jackdaw has not
 */
export function readToolset(folder: string): Toolset | undefined {
  const path = join(folder, 'toolset.json')
  if (!existsSync(path)) return undefined
  const { data, error } = toolsetFile.safeParse(readJsonObject(path))
  if (!data) throw new Error(`${path}: ${error.issues[0].path.join('.')}: ${error.issues[0].message}`)
  return { tools: toolsetOf(data.tools), examples: data.examples }
}
