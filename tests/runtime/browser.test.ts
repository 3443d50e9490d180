import { existsSync, readFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import { build } from 'vite'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { normalBits } from './browser-page.ts'
import { trainingStep } from './graphs.ts'

const CHROMIUM = process.env.CHROMIUM_PATH ?? '/usr/bin/chromium'
const lacksChromium = !existsSync(CHROMIUM)
if (lacksChromium) console.warn(`skipped: there is no ${CHROMIUM}; CHROMIUM_PATH may name another`)

const ORT_DIST = dirname(createRequire(import.meta.url).resolve('onnxruntime-web'))
const MIME: Record<string, string> = { js: 'text/javascript', mjs: 'text/javascript', wasm: 'application/wasm' }

let server: Server
let browser: Browser
let page: Page

describe.skipIf(lacksChromium)('in Chromium', () => {
  beforeAll(async () => {
    const built = await build({
      configFile: false,
      logLevel: 'silent',
      build: {
        write: false,
        target: 'esnext',
        minify: false,
        lib: {
          entry: fileURLToPath(new URL('browser-page.ts', import.meta.url)),
          formats: ['es'],
          fileName: 'page',
        },
      },
    })
    const files = new Map<string, string | Uint8Array>()
    for (const { output } of built as {
      output: { fileName: string; code?: string; source?: string | Uint8Array }[]
    }[]) {
      for (const { fileName, code, source } of output) files.set(`/${fileName}`, code ?? source ?? '')
    }
    const entry = [...files.keys()].find((name) => name.startsWith('/page.'))
    server = createServer((request, response) => {
      const url = request.url ?? '/'
      const extension = url.slice(url.lastIndexOf('.') + 1)
      response.setHeader('content-type', MIME[extension] ?? 'text/html')
      if (url.startsWith('/ort/')) response.end(readFileSync(join(ORT_DIST, basename(url))))
      else response.end(files.get(url) ?? `<!doctype html><script type="module" src="${entry}"></script>`)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: ['--no-sandbox', '--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader'],
    })
    page = await browser.newPage()
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
    await page.waitForFunction(() => window.jackdaw !== undefined)
  })

  afterAll(async () => {
    await browser?.close()
    server?.close()
  })

  it('normal numbers have the bits that they have in Node', async () => {
    expect(await page.evaluate(() => window.jackdaw.normalBits(4096))).toEqual(normalBits(4096))
  })

  it.for(['wasm', 'webgpu'] as const)('%s keeps weights on the device between steps', async (provider, { skip }) => {
    if (provider === 'webgpu' && !(await page.evaluate(() => window.jackdaw.hasWebGpu()))) {
      skip('this Chromium has no WebGPU adapter')
    }
    const model = [...trainingStep]
    const result = await page.evaluate(([name, bytes]) => window.jackdaw.trainOn(name, bytes), [
      provider,
      model,
    ] as const as ['wasm' | 'webgpu', number[]])
    expect(result).toEqual({ losses: [1, 0.25, 0.0625, 0.015625], w: Array(16).fill(0.0625) })
  })
})
