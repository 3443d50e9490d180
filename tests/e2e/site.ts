import { execFile } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import axe from 'axe-core'
import { type Browser, chromium, type Page } from 'playwright-core'
import { expect } from 'vitest'

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const CHROMIUM = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium'

export const lacksChromium = !existsSync(CHROMIUM)
if (lacksChromium) console.warn(`skipped: there is no ${CHROMIUM}; CHROMIUM_PATH may name another`)

export const launchChromium = (): Promise<Browser> =>
  chromium.launch({
    executablePath: CHROMIUM,
    args: ['--no-sandbox', '--disable-quic', '--disable-background-networking'],
  })

/**
 * The page, as `npm run build` builds it, in a folder of its own: built once for one state of its files, by whichever
 * test comes first.
 */
export async function builtPage(): Promise<string> {
  const folder = join(tmpdir(), `jackdaw-built-page-${stateOf(['web', 'src', 'package-lock.json'])}`)
  if (existsSync(folder)) return folder
  const making = mkdtempSync(join(tmpdir(), 'jackdaw-building-'))
  // This process' NODE_ENV=test would give a development build.
  const env = { ...process.env, NODE_ENV: 'production' }
  const args = ['node_modules/vite/bin/vite.js', 'build', 'web', '--outDir', making]
  await promisify(execFile)(process.execPath, args, { cwd: ROOT, env })
  for (const old of readdirSync(tmpdir()).filter((name) => name.startsWith('jackdaw-built-page-'))) {
    if (Date.now() - statSync(join(tmpdir(), old)).mtimeMs > 3_600_000) rmSync(join(tmpdir(), old), { recursive: true })
  }
  try {
    renameSync(making, folder)
  } catch (error) {
    rmSync(making, { recursive: true })
    // Another test was first.
    if (!existsSync(folder)) throw error
  }
  return folder
}

/** Of every file below, by its name, size and time. */
function stateOf(paths: readonly string[]): string {
  const hash = createHash('sha256').update(ROOT)
  for (const path of paths.map((name) => join(ROOT, name))) {
    const inside = statSync(path).isDirectory() ? readdirSync(path, { recursive: true, encoding: 'utf8' }).sort() : ['']
    for (const name of inside) {
      const { mtimeMs, size } = statSync(join(path, name))
      hash.update(`${name} ${mtimeMs} ${size}\n`)
    }
  }
  return hash.digest('hex').slice(0, 16)
}

/**
 * Nothing that axe-core finds.
 *
 * @param within - a selector, where only a part of the page is looked at
 */
export async function audit(page: Page, what: string, within = 'html'): Promise<void> {
  if (!(await page.evaluate(() => 'axe' in globalThis))) await page.evaluate(axe.source)
  const { violations } = await page.evaluate(
    (selector) => (globalThis as unknown as { axe: typeof axe }).axe.run(selector, { resultTypes: ['violations'] }),
    within,
  )
  const found = violations.map(({ id, impact, nodes }) => ({ what, id, impact, nodes: nodes.map(({ html }) => html) }))
  expect(found).toEqual([])
}
