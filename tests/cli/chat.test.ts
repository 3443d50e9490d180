import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { chatCommand } from '../../src/cli/chat.ts'
import { charTokenizerJson } from '../../src/data/char-tokenizer.ts'

/** Models of 47 letters, one a token. */
const folder = mkdtempSync(join(tmpdir(), 'jackdaw-chat-'))
afterAll(() => rmSync(folder, { recursive: true }))
afterEach(() => {
  vi.restoreAllMocks()
})

function checkpoint(name: string): string {
  const path = join(folder, name)
  cpSync(fileURLToPath(new URL(`../parity/${name}`, import.meta.url)), path, { recursive: true })
  writeFileSync(
    join(path, 'tokenizer.json'),
    JSON.stringify(charTokenizerJson('ABCDEFGHIJKLMNOPQRSTUabcdefghijklmnopqrstuvwxyz')),
  )
  return path
}

/** Types the lines. @returns the answers, and what stands around them */
async function chat(model: string, lines: readonly string[], ...args: string[]) {
  const said = { answers: '', notes: '' }
  vi.spyOn(process, 'stdin', 'get').mockReturnValue(
    Readable.from([Buffer.from(lines.map((line) => `${line}\n`).join(''))]) as typeof process.stdin,
  )
  const to = (stream: 'stdout' | 'stderr', name: keyof typeof said) =>
    vi.spyOn(process[stream], 'write').mockImplementation((chunk) => {
      said[name] += chunk
      return true
    })
  to('stdout', 'answers')
  to('stderr', 'notes')
  await chatCommand()
    .exitOverride()
    .parseAsync(['--model', model, ...args], { from: 'user' })
  return said
}

describe('jackdaw chat', () => {
  it('goes on past the end of the context, and says what it left out', async () => {
    const lines = Array.from({ length: 8 }, () => 'TheBirdWrites')
    const { answers, notes } = await chat(checkpoint('llama'), lines, '--max-new-tokens', '5', '--temperature', '1')
    expect(answers.split('\n')).toHaveLength(lines.length + 1)
    expect(notes).toMatch(/\(the first \d+ tokens no longer fit the context; \/new starts anew\)/)
  })

  it('says that an encoder-decoder remembers nothing, refuses what is too long for it, and goes on', async () => {
    const { answers, notes } = await chat(checkpoint('t5'), ['a'.repeat(3000), 'Bird'], '--max-new-tokens', '3')
    expect(notes).toContain('It answers each message by itself: it remembers none.')
    expect(notes).toContain('t5 takes 2048 tokens, and this has 3000; shorten it.')
    expect(answers.split('\n')).toHaveLength(2)
  })

  it('tells its commands, saves the conversation, changes the model and forgets, and knows no others', async () => {
    const [llama, other] = [checkpoint('llama'), checkpoint('gpt2')]
    const file = join(folder, 'saved.md')
    const lines = [
      'Bird',
      `/save ${file}`,
      `/save ${file}`,
      `/model ${other}`,
      '/model',
      '/new',
      '/save',
      '/fly',
      '/help',
    ]
    const { notes } = await chat(llama, [...lines, '/exit', 'never'], '--max-new-tokens', '3')
    expect(readFileSync(file, 'utf8')).toMatch(/^## You\n\nBird\n\n## llama\n\n/)
    expect(notes).toContain(`${file} is there already; choose another name.`)
    expect(notes.match(/^gpt2: /gm)).toHaveLength(2)
    expect(notes).toContain('There is nothing to save yet.')
    expect(notes).toContain('There is no /fly; /help lists what there is.')
    expect(notes).toContain('/model [REF]')
    expect(notes).toMatch(/^(> )?\d+ tokens? · .*first after \d+ ms/m)
  })

  it('goes on with the model it has where another cannot be loaded', async () => {
    const { answers, notes } = await chat(checkpoint('llama'), ['/model nowhere', 'Bird'], '--max-new-tokens', '3')
    expect(notes).toContain('no shipped model (cartpole, jackdaw-base, jackdaw-chat)')
    expect(answers.split('\n')).toHaveLength(2)
  })
})
