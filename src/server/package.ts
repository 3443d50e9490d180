import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The folder with jackdaw's package.json: the sources and the compiled files lie at different depths below it. */
export const packageRoot = findRoot(dirname(fileURLToPath(import.meta.url)))

export const version = (JSON.parse(readFileSync(join(packageRoot, 'package.json'), 'utf8')) as { version: string })
  .version

function findRoot(folder: string): string {
  if (existsSync(join(folder, 'package.json'))) return folder
  const parent = dirname(folder)
  if (parent === folder) throw new Error('internal: no package.json above the running file')
  return findRoot(parent)
}
