import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import type { z } from 'zod'

/** A user's file of questions: what is wrong with it is said with its line. */
export interface DataFile {
  readonly path: string
  readonly text: string
}

/**
 * Reads a file, packed (`.gz`) or not.
 *
 * @throws Error where it cannot be read
 */
export function openDataFile(path: string): DataFile {
  try {
    const bytes = readFileSync(path)
    const isPacked = bytes[0] === 0x1f && bytes[1] === 0x8b
    return { path, text: (isPacked ? gunzipSync(bytes) : bytes).toString('utf8') }
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new Error(code === 'ENOENT' ? `${path}: there is no such file` : `${path}: cannot be read (${code})`)
  }
}

/** What tells a file from others: whoever goes on with a run must have the same. */
export const fingerprint = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16)

/** The entries of a file that has one JSON value a line, each with its line. Empty lines are passed over. */
export function readJsonLines<T>({ path, text }: DataFile, schema: z.ZodType<T>): T[] {
  const entries = text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return []
    let value: unknown
    try {
      value = JSON.parse(line)
    } catch {
      throw new Error(`${path}, line ${i + 1}: is not JSON`)
    }
    return [checked(value, schema, `${path}, line ${i + 1}`)]
  })
  if (entries.length === 0) throw new Error(`${path}: is empty`)
  return entries
}

/**
 * The entries of a JSON file that is a list, or has one.
 *
 * @param key - the list's name, where the file is an object
 */
export function readJsonList<T>({ path, text }: DataFile, schema: z.ZodType<T>, key?: string): T[] {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    const at = /position (\d+)/.exec((error as Error).message)?.[1]
    throw new Error(`${path}, line ${lineAt(text, at === undefined ? text.length : Number(at))}: is not JSON`)
  }
  const isObject = typeof value === 'object' && value !== null
  const list = key === undefined ? value : isObject ? (value as Record<string, unknown>)[key] : undefined
  if (!Array.isArray(list)) throw new Error(`${path}: ${key === undefined ? 'is not a list' : `has no list "${key}"`}`)
  if (list.length === 0) throw new Error(`${path}: ${key === undefined ? 'is' : `its "${key}" are`} empty`)
  return list.map((entry, i) => {
    const found = schema.safeParse(entry)
    if (found.success) return found.data
    const line = lineAt(text, startOfEntry(text, key, i))
    return checked(entry, schema, `${path}, line ${line} (entry ${i + 1})`)
  })
}

function checked<T>(value: unknown, schema: z.ZodType<T>, where: string): T {
  const found = schema.safeParse(value)
  if (found.success) return found.data
  const [{ path, message }] = found.error.issues
  throw new Error(`${where}: ${path.length > 0 ? `"${path.join('.')}": ` : ''}${message}`)
}

const lineAt = (text: string, position: number): number => text.slice(0, position).split('\n').length

/** Where entry `index` of the list begins, in a text that is JSON: a walk over brackets outside of strings. */
function startOfEntry(text: string, key: string | undefined, index: number): number {
  const inList = key === undefined ? 1 : 2
  let depth = 0
  let latestKey = ''
  let entry = -1
  for (let i = 0; i < text.length; i++) {
    const character = text[i]
    if (character === '"') {
      const start = i
      while (text[++i] !== '"') if (text[i] === '\\') i++
      if (depth === 1) latestKey = text.slice(start + 1, i)
    } else if (character === '[' || character === '{') {
      depth++
      const opensList = character === '[' && depth === inList && (key === undefined || latestKey === key)
      if (opensList) entry = 0
      if (entry === index && (opensList || depth === inList + 1)) return opensList ? afterSpace(text, i + 1) : i
    } else if (character === ']' || character === '}') depth--
    else if (character === ',' && depth === inList && entry >= 0 && ++entry === index) return afterSpace(text, i + 1)
  }
  return text.length
}

const afterSpace = (text: string, from: number): number =>
  from + (/^\s*/.exec(text.slice(from, from + 1000))?.[0].length ?? 0)
