/** From starting `jackdaw serve` to the first streamed token of a model, in seconds: `serve-start.ts MODEL FOLDER`. */

import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { basename, join } from 'node:path'
import { createInterface } from 'node:readline'
import { packageRoot, resolveModelRef } from '../../src/hub/open.ts'
import { compete } from '../contestant.ts'
import { versions } from './versions.ts'

const [, , model, scratch] = process.argv

async function firstToken(): Promise<number> {
  const data = mkdtempSync(join(scratch, 'serve-'))
  const start = performance.now()
  const args = [join(packageRoot(), 'bin', 'jackdaw.js'), 'serve', '--model', model, '--port', '0', '--data', data]
  const server = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] })
  const ended = new Promise<never>((_, reject) => {
    server.once('exit', (code) => reject(new Error(`jackdaw serve ended with status ${code}`)))
  })
  // Lost races are no unhandled rejections.
  ended.catch(() => {})
  try {
    const url = await Promise.race([servedAt(server.stdout), ended])
    await Promise.race([firstPiece(url), ended])
    return (performance.now() - start) / 1000
  } finally {
    server.kill('SIGKILL')
    await new Promise((resolve) => server.once('close', resolve))
    rmSync(data, { recursive: true, force: true })
  }
}

async function servedAt(stdout: NodeJS.ReadableStream): Promise<string> {
  for await (const line of createInterface({ input: stdout })) {
    const url = /http:\/\/\S+/.exec(line)?.[0]
    if (url) return url.replace(/\/$/, '')
  }
  throw new Error('jackdaw serve named no address')
}

async function firstPiece(url: string): Promise<void> {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ model: basename(model), prompt: 'The jackdaw is', max_tokens: 8, stream: true }),
  })
  if (!response.ok || !response.body)
    throw new Error(`/v1/completions answered ${response.status}: ${await response.text()}`)
  let text = ''
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    text += chunk
    for (const [, json] of text.matchAll(/^data: (\{.*\})$/gm)) {
      if ((JSON.parse(json) as { choices: { text: string }[] }).choices[0]?.text) return
    }
  }
  throw new Error(`the stream ended without a token: ${text.slice(0, 200)}`)
}

await compete(async () => {
  await resolveModelRef(model)
  // The first start reads the files from the disk; those that count find them in memory.
  await firstToken()
  return { rounds: { start: firstToken }, versions: versions() }
})
