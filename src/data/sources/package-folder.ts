import { createRequire } from 'node:module'
import { dirname } from 'node:path'

/**
 * The folder of a package that jackdaw depends on, wherever npm has put it.
 *
 * @throws Error in one sentence where it is not installed
 */
export function packageFolder(name: string): string {
  try {
    return dirname(createRequire(import.meta.url).resolve(`${name}/package.json`))
  } catch {
    throw new Error(`the package ${name} is not installed; run npm ci where jackdaw is`)
  }
}
