import type { z } from 'zod'

/**
 * Reads a checkpoint's config.json.
 *
 * @param model - the architecture's name, for the message
 * @throws Error with one sentence that names the first field that does not fit
 */
export function parseConfig<T>(model: string, schema: z.ZodType<T>, json: Record<string, unknown>): T {
  const result = schema.safeParse(json)
  if (result.success) return result.data
  const [issue] = result.error.issues
  const field = issue.path.join('.') || 'the file'
  throw new Error(`config.json is not a ${model} configuration: ${field}: ${issue.message}`)
}
