import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { loadServedModel } from '../../src/generate/served.ts'
import { StoppedError, TextProcess } from '../../src/load/text-process.ts'
import { loadTokenizer } from '../../src/text/load.ts'

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-text-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))
const SHIPPED = fileURLToPath(new URL('../../weights/jackdaw-base', import.meta.url))
const LLAMA = fileURLToPath(new URL('../parity/llama', import.meta.url))

/** What a promise is rejected with. */
const failure = (promise: Promise<unknown>): Promise<Error> =>
  promise.then(
    () => Promise.reject(new Error('it was fulfilled')),
    (error: Error) => error,
  )

/** Runs, and tells the longest time that the event loop was not free for meanwhile. */
async function watched<T>(run: () => Promise<T>): Promise<{ value: T; heldMs: number }> {
  let [last, heldMs] = [performance.now(), 0]
  const timer = setInterval(() => {
    heldMs = Math.max(heldMs, performance.now() - last)
    last = performance.now()
  }, 5)
  try {
    return { value: await run(), heldMs: Math.max(heldMs, performance.now() - last) }
  } finally {
    clearInterval(timer)
  }
}

/** A small LLaMA whose tokenizer cuts by this pattern, with this template. */
function hostileModel(name: string, pattern: string, template: string): string {
  const path = join(folder, name)
  mkdirSync(path)
  for (const file of ['config.json', 'model.safetensors']) cpSync(join(LLAMA, file), join(path, file))
  const tokenizer = {
    pre_tokenizer: { type: 'Split', pattern: { Regex: pattern }, behavior: 'Isolated' },
    model: { type: 'BPE', vocab: { a: 0, b: 1, aa: 2 }, merges: ['a a'] },
  }
  writeFileSync(join(path, 'tokenizer.json'), JSON.stringify(tokenizer))
  writeFileSync(join(path, 'tokenizer_config.json'), JSON.stringify({ chat_template: template }))
  return path
}

const LOOPS = '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}'
const DOUBLING = `{% set ns = namespace(s=['a']) %}{% for i in range(40) %}{% set ns.s = ns.s + ns.s %}{% endfor %}`
const user = [{ role: 'user' as const, content: 'aab' }]

describe('templates and tokenizers in a process of their own', () => {
  const text = new TextProcess({ kind: 'folder', path: SHIPPED }, { deadlineMs: 700, memoryMb: 128 })
  afterAll(() => text.close())

  it('say what they say here', async () => {
    expect(await text.render('{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}', user)).toBe(
      '<user>aab',
    )
    const sentence = 'The jackdaw is a bird.'
    expect(await text.encode(sentence)).toEqual((await loadTokenizer(SHIPPED)).encode(sentence))
    const refusal = await failure(text.render(`{{ raise_exception('no turns') }}`, user))
    expect(refusal.message).toBe('the chat template does not take this conversation: no turns')
    expect(refusal).not.toBeInstanceOf(StoppedError)
  })

  it('are stopped at their deadline, others are answered after it, and nothing waits meanwhile', async () => {
    const { value, heldMs } = await watched(async () => {
      const stuck = failure(text.render(LOOPS, user))
      const next = text.render('next', user)
      return [await stuck, await next] as const
    })
    expect(value[0]).toBeInstanceOf(StoppedError)
    expect(value[0].message).toBe('the chat template took more than 0.7 seconds, and was stopped')
    expect(value[1]).toBe('next')
    expect(heldMs).toBeLessThan(600)
  })

  it('are stopped where they ask for all memory, and start again', async () => {
    const stopped = await failure(text.render(DOUBLING, user))
    expect(stopped).toBeInstanceOf(StoppedError)
    expect(stopped.message).toMatch(
      /^the chat template (needed more than 128 megabytes of memory|took more than 0\.7 seconds), and was stopped$/,
    )
    expect(await text.render('again', user)).toBe('again')
  })

  it('know nothing of this process: its environment stays here', async () => {
    process.env.JACKDAW_SECRET_OF_A_TEST = 'secret'
    const fresh = new TextProcess({ kind: 'folder', path: SHIPPED })
    try {
      expect(await fresh.render('{{ JACKDAW_SECRET_OF_A_TEST is defined }}', user)).toBe('false')
    } finally {
      delete process.env.JACKDAW_SECRET_OF_A_TEST
      fresh.close()
    }
  })

  it('end when nobody needs them', async () => {
    const short = new TextProcess({ kind: 'folder', path: SHIPPED }, { idleMs: 50 })
    expect(await short.render('a', user)).toBe('a')
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(await short.render('b', user)).toBe('b')
    short.close()
  })
})

describe('a served model whose files mean harm', () => {
  it('answers with one sentence, and the loop stays free: a template of nested loops, a pattern that backtracks', async () => {
    const model = await loadServedModel(hostileModel('hostile', '(a|aa)+$', LOOPS), { slots: 1 })
    const { value, heldMs } = await watched(async () => [
      (await failure(Promise.resolve(model.renderChat(user)))).message,
      (await failure(Promise.resolve(model.encode(`${'a'.repeat(60)}b`)))).message,
    ])
    expect(value).toEqual([
      'the chat template took more than 5 seconds, and was stopped',
      'the tokenizer took more than 5 seconds, and was stopped',
    ])
    expect(heldMs).toBeLessThan(1000)
    expect(await model.encode('aab')).toEqual([2, 1])
  })

  it('encodes a word of 950 KB, and many texts, without holding others up', async () => {
    const model = await loadServedModel(SHIPPED, { slots: 1 })
    await model.encode('a')
    const word = 'jackdaw'.repeat(950_000 / 7)
    const { value, heldMs } = await watched(async () => model.encode(word))
    expect(model.decode(value)).toBe(word)
    expect(heldMs).toBeLessThan(1000)
    const many = await watched(async () => {
      for (let i = 0; i < 60; i++) await model.encode(word.slice(0, 15_000))
    })
    expect(many.heldMs).toBeLessThan(1000)
  })
})
