import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import { build, type Plugin } from 'vite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import '../../src/runtime/node.ts'
import { losses } from './browser-training-page.ts'

const CHROMIUM = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium'
const lacksChromium = !existsSync(CHROMIUM)
if (lacksChromium) console.warn(`skipped: there is no ${CHROMIUM}; CHROMIUM_PATH may name another`)

const MIME: Record<string, string> = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.mjs': 'text/javascript',
  '.wasm': 'application/wasm',
}

const SOURCES = fileURLToPath(new URL('../../src/', import.meta.url))
const pathOf = (file: string): string => fileURLToPath(new URL(file, import.meta.url))

/** Fails the build where one of our files asks for a module of Node's. */
const noNodeModules: Plugin = {
  name: 'no-node-modules',
  enforce: 'pre',
  resolveId(source, importer) {
    if (source.startsWith('node:') && importer?.startsWith(SOURCES)) {
      throw new Error(`${importer} imports ${source}: it cannot run in a browser`)
    }
  },
}

describe.skipIf(lacksChromium)('training in Chromium', { timeout: 240_000 }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'jackdaw-browser-'))
  const dist = join(folder, 'dist')
  let server: Server
  let browser: Browser
  let page: Page

  beforeAll(async () => {
    writeFileSync(join(folder, 'index.html'), '<!doctype html><script type="module" src="./main.js"></script>')
    writeFileSync(
      join(folder, 'main.js'),
      `import { webBackend } from ${JSON.stringify(pathOf('../../src/browser.ts'))}
       import { hasWebGpu, losses } from ${JSON.stringify(pathOf('browser-training-page.ts'))}
       await webBackend('wasm', { threads: 2 })
       window.training = { hasWebGpu, losses }`,
    )
    await build({
      root: folder,
      configFile: false,
      logLevel: 'silent',
      plugins: [noNodeModules],
      build: { outDir: dist, target: 'esnext', minify: false },
    })
    server = createServer((request, response) => {
      const path = join(dist, request.url === '/' ? 'index.html' : (request.url ?? '').replaceAll('..', ''))
      if (!existsSync(path)) {
        response.writeHead(404).end()
        return
      }
      // Threads share memory, which a page may do only where it is isolated from others.
      response.setHeader('cross-origin-opener-policy', 'same-origin')
      response.setHeader('cross-origin-embedder-policy', 'require-corp')
      response.setHeader('content-type', MIME[extname(path)] ?? 'application/octet-stream')
      response.end(readFileSync(path))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        '--no-sandbox',
        '--disable-background-networking',
        '--enable-unsafe-webgpu',
        '--use-webgpu-adapter=swiftshader',
        '--enable-features=Vulkan',
      ],
    })
    page = await browser.newPage()
    const faults: string[] = []
    page.on('pageerror', (error) => faults.push(error.message))
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
    await page
      .waitForFunction(() => window.training !== undefined, undefined, { timeout: 60_000 })
      .catch((error: Error) => {
        throw new Error(`the page did not start: ${faults.join('; ') || error.message}`)
      })
  }, 180_000)

  afterAll(async () => {
    await browser?.close()
    server?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  it('runs in a page of its own, so that threads may share memory', async () => {
    expect(await page.evaluate(() => crossOriginIsolated)).toBe(true)
  })

  it.for([
    ['wasm', 20],
    ['webgpu', 6],
  ] as const)("on %s gives Node's losses for %i steps", async ([provider, steps], { skip }) => {
    if (provider === 'webgpu' && !(await page.evaluate(() => window.training.hasWebGpu()))) {
      skip('this Chromium has no WebGPU adapter')
    }
    const expected = await losses('cpu', steps)
    const got = await page.evaluate(([name, count]) => window.training.losses(name, count), [provider, steps] as const)
    expect(got).toHaveLength(steps)
    for (const [step, loss] of got.entries()) expect(Math.abs(loss - expected[step]), `step ${step}`).toBeLessThan(1e-4)
    expect(expected.at(-1)).toBeLessThan(expected[0] - 0.1)
  })
})
