import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { brotliDecompressSync, gunzipSync } from 'node:zlib'
import { afterAll, expect, it } from 'vitest'
import { createApp } from '../../src/server/app.ts'
import { MockModel } from './mock-model.ts'
import { captureLogger, noStore } from './support.ts'

const staticDir = mkdtempSync(join(tmpdir(), 'jackdaw-compression-'))
afterAll(() => rmSync(staticDir, { recursive: true }))
mkdirSync(join(staticDir, 'assets'))
const script = 'console.log("a line that comes again")\n'.repeat(200)
writeFileSync(join(staticDir, 'assets', 'app-1.js'), script)
writeFileSync(join(staticDir, 'assets', 'font-1.woff2'), Buffer.alloc(5000, 7))
const models = Array.from({ length: 40 }, (_, i) => new MockModel({ id: `mock-${i}`, length: 40 }))
const app = createApp({ models, store: noStore(), logger: captureLogger().logger, staticDir })
const browser = { 'accept-encoding': 'gzip, deflate, br' }

it('compresses scripts, and leaves what is small already or was not asked for', async () => {
  const response = await app.request('/assets/app-1.js', { headers: browser })
  expect(response.headers.get('content-encoding')).toBe('br')
  expect(response.headers.get('vary')).toBe('accept-encoding')
  const bytes = Buffer.from(await response.arrayBuffer())
  expect(bytes.length).toBeLessThan(500)
  expect(response.headers.get('content-length')).toBe(String(bytes.length))
  expect(brotliDecompressSync(bytes).toString()).toBe(script)
  // The same file in either form has the same tag.
  const again = await app.request('/assets/app-1.js', {
    headers: { ...browser, 'if-none-match': response.headers.get('etag') ?? '' },
  })
  expect(again.status).toBe(304)
  const plain = await app.request('/assets/app-1.js')
  expect(plain.headers.get('content-encoding')).toBeNull()
  expect(await plain.text()).toBe(script)
  expect((await app.request('/assets/font-1.woff2', { headers: browser })).headers.get('content-encoding')).toBeNull()
})

it('compresses JSON, and never what is streamed', async () => {
  const status = await app.request('/api/status', { headers: browser })
  expect(status.headers.get('content-encoding')).toBe('gzip')
  expect(JSON.parse(gunzipSync(Buffer.from(await status.arrayBuffer())).toString()).models).toHaveLength(40)
  const stream = await app.request('/v1/chat/completions', {
    method: 'POST',
    headers: { ...browser, 'content-type': 'application/json' },
    body: JSON.stringify({ model: 'mock-1', messages: [{ role: 'user', content: 'hi' }], stream: true }),
  })
  expect(stream.headers.get('content-type')).toContain('text/event-stream')
  expect(stream.headers.get('content-encoding')).toBeNull()
  expect(await stream.text()).toContain('data: [DONE]')
})
