import type { ToolPart } from '../../src/server/wire.ts'

/** `dictionary(word: jackdaw)`: arguments as they are read aloud; as JSON where they are no object. */
export function spelled({ name, arguments: json }: ToolPart): string {
  try {
    const given: unknown = JSON.parse(json)
    if (typeof given === 'object' && given !== null && !Array.isArray(given)) {
      const said = Object.entries(given).map(
        ([key, value]) => `${key}: ${typeof value === 'string' ? value.trim() : JSON.stringify(value)}`,
      )
      return `${name}(${said.join(', ')})`
    }
  } catch {
    // As the model wrote it.
  }
  return `${name}(${json})`
}
