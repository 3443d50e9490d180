/** Jackdaw's own tools: what its assistant looks up and counts with. */

import type { ToolCall, ToolSpec } from '../data/instruction/conversation.ts'
import { calculator } from './tools/calculator.ts'
import { countries } from './tools/countries.ts'
import { dates } from './tools/dates.ts'
import { dictionary } from './tools/dictionary.ts'
import { letters } from './tools/letters.ts'

export interface Tool {
  readonly spec: ToolSpec
  /** The result as a short text. What cannot be done is one sentence, never a throw. */
  run(args: unknown): Promise<string> | string
}

/** A tool that is done at once. */
export interface LocalTool extends Tool {
  run(args: unknown): string
}

export const TOOLS: readonly LocalTool[] = [dictionary, countries, calculator, dates, letters]

/** @throws Error in one sentence where a name is none of `TOOLS` */
export function toolsetOf(names: readonly string[]): readonly LocalTool[] {
  return names.map((name) => {
    const tool = TOOLS.find(({ spec }) => spec.name === name)
    if (!tool) throw new Error(`there is no tool "${name}"; there are ${TOOLS.map(({ spec }) => spec.name).join(', ')}`)
    return tool
  })
}

/** Calls a tool as a model has asked for it. An unknown name or arguments that are no JSON give a sentence too. */
export async function callTool(tools: readonly Tool[], call: Pick<ToolCall, 'name' | 'arguments'>): Promise<string> {
  const { tool, args, problem } = prepared(tools, call)
  if (!tool) return problem
  try {
    return await tool.run(args)
  } catch (error) {
    return failed(call.name, error)
  }
}

/** As `callTool`, of jackdaw's own tools, at once. */
export function callLocalTool(call: Pick<ToolCall, 'name' | 'arguments'>, tools: readonly LocalTool[] = TOOLS): string {
  const { tool, args, problem } = prepared(tools, call)
  if (!tool) return problem
  try {
    return tool.run(args)
  } catch (error) {
    return failed(call.name, error)
  }
}

const failed = (name: string, error: unknown): string =>
  `${name} failed: ${error instanceof Error ? error.message : String(error)}`

function prepared<T extends Tool>(
  tools: readonly T[],
  { name, arguments: json }: Pick<ToolCall, 'name' | 'arguments'>,
): { tool: T; args: unknown; problem: '' } | { tool?: undefined; args?: undefined; problem: string } {
  const tool = tools.find(({ spec }) => spec.name === name)
  if (!tool) return { problem: `there is no tool "${name}"` }
  try {
    return { tool, args: trimmed(JSON.parse(json)), problem: '' }
  } catch {
    return { problem: `the arguments of ${name} are not JSON` }
  }
}

/** Texts without the space that a model may have put before them. */
const trimmed = (args: unknown): unknown =>
  typeof args === 'object' && args !== null && !Array.isArray(args)
    ? Object.fromEntries(
        Object.entries(args).map(([key, value]) => [key, typeof value === 'string' ? value.trim() : value]),
      )
    : args
