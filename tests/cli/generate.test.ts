import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest'
import { generateCommand } from '../../src/cli/generate.ts'

const fixture = (name: string): string => fileURLToPath(new URL(`../parity/${name}`, import.meta.url))

/** Runs the command. @returns its standard output */
async function generate(...args: string[]): Promise<string> {
  let output = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    output += chunk
    return true
  })
  const command = generateCommand()
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
  await command.parseAsync(args, { from: 'user' })
  return output
}

const outputIds = async (...args: string[]): Promise<number[]> =>
  JSON.parse(await generate(...args, '--json')).outputIds

function pipe(text: string): void {
  vi.spyOn(process, 'stdin', 'get').mockReturnValue(Readable.from([Buffer.from(text)]) as typeof process.stdin)
}

afterEach(() => {
  vi.restoreAllMocks()
})

describe('jackdaw generate', () => {
  describe.each(['gpt2', 'llama', 't5', 't5-gated'])('%s', (name) => {
    const { input_ids, runs } = JSON.parse(readFileSync(`${fixture(name)}/generation.json`, 'utf8'))
    const prompt = ['--input-ids', input_ids.join(), '--max-new-tokens', '11']

    it('prints the reference implementation’s ids', async () => {
      const shown = runs.filter((run: { early_stopping?: unknown }) => run.early_stopping !== 'never')
      for (const run of shown) {
        const flags = Object.entries({
          '--num-beams': run.num_beams,
          '--length-penalty': run.length_penalty,
          '--eos-token-id': run.eos_token_id,
        }).flatMap(([flag, value]) => (value === undefined ? [] : [flag, `${value}`]))
        if (run.early_stopping) flags.push('--early-stopping')
        expect(JSON.parse(await generate(fixture(name), ...prompt, ...flags, '--json'))).toEqual({
          outputIds: run.output_ids,
        })
      }
    })

    it('prints ids where the model has no tokenizer', async () => {
      expect(await generate(fixture(name), ...prompt)).toBe(
        `${(await outputIds(fixture(name), ...prompt)).join(' ')}\n`,
      )
    })

    it('draws the same tokens with the same seed, others with another', async () => {
      const draw = (seed: string) => outputIds(fixture(name), ...prompt, '--seed', seed, '--temperature', '3')
      expect(await draw('1')).toEqual(await draw('1'))
      expect(await draw('1')).not.toEqual(await draw('2'))
    })

    it('is greedy with temperature 0, and with the likeliest token alone to draw from', async () => {
      const greedy = await outputIds(fixture(name), ...prompt)
      expect(await outputIds(fixture(name), ...prompt, '--temperature', '0')).toEqual(greedy)
      expect(await outputIds(fixture(name), ...prompt, '--top-k', '1')).toEqual(greedy)
    })
  })

  it('ends where the context does', async () => {
    // The last of the tokens is never read, so it needs no position.
    expect(await outputIds(fixture('gpt2'), '--input-ids', '3,4')).toHaveLength(40 + 1)
  })

  describe('with a tokenizer', () => {
    const folder = mkdtempSync(join(tmpdir(), 'jackdaw-generate-'))
    const words = (ids: readonly number[]): string => ids.map((id) => `w${id}`).join(' ')

    beforeAll(() => {
      cpSync(fixture('llama'), folder, { recursive: true })
      const vocab = Object.fromEntries(Array.from({ length: 47 }, (_, id) => [`w${id}`, id]))
      const tokenizer = {
        version: '1.0',
        added_tokens: [],
        normalizer: null,
        pre_tokenizer: { type: 'WhitespaceSplit' },
        post_processor: null,
        decoder: null,
        model: { type: 'WordLevel', vocab, unk_token: 'w0' },
      }
      writeFileSync(join(folder, 'tokenizer.json'), JSON.stringify(tokenizer))
    })
    afterAll(() => rmSync(folder, { recursive: true }))

    it('prints the text that follows a prompt, from an argument or from standard input', async () => {
      const ids = await outputIds(fixture('llama'), '--input-ids', '5,6,7', '--max-new-tokens', '9')
      const expected = words(ids.slice(3))
      const printed = await generate(folder, 'w5 w6 w7', '--max-new-tokens', '9')
      expect(printed.trim()).toBe(expected)
      pipe('w5 w6 w7\n')
      expect(await generate(folder, '--max-new-tokens', '9')).toBe(printed)
      const json = JSON.parse(await generate(folder, 'w5 w6 w7', '--max-new-tokens', '9', '--json'))
      expect(json).toEqual({ outputIds: ids, text: printed.slice(0, -1) })
    })

    it('prints the text of the best beam', async () => {
      const args = ['--num-beams', '3', '--max-new-tokens', '6']
      const ids = await outputIds(fixture('llama'), '--input-ids', '5,6', ...args)
      expect((await generate(folder, 'w5 w6', ...args)).trim()).toBe(words(ids.slice(2)))
    })

    it('ends before a stop text', async () => {
      const whole = await generate(folder, 'w5 w6 w7', '--max-new-tokens', '12')
      const stop = whole.trim().split(' ')[3]
      const cut = await generate(folder, 'w5 w6 w7', '--max-new-tokens', '12', '--stop', stop)
      expect(cut).toBe(`${whole.slice(0, whole.indexOf(stop))}\n`)
    })
  })

  it('says in one sentence what is wrong', async () => {
    const gpt2 = fixture('gpt2')
    const wrong: [string[], string][] = [
      [[gpt2, 'hello'], 'gpt2 has no tokenizer: give --input-ids'],
      [[gpt2, 'hello', '--input-ids', '1'], 'give a prompt or --input-ids, not both'],
      [[gpt2, '--input-ids', '1,47'], '47 is no token of gpt2: its ids are 0 to 46'],
      [[gpt2, '--input-ids', '1', '--eos-token-id', '99'], '99 is no token of gpt2: its ids are 0 to 46'],
      [
        [gpt2, '--input-ids', '1', '--quantize', 'q4_0'],
        'That is a type of GGUF files; what is loaded takes q8, q4 or q4s.',
      ],
      [[gpt2, '--input-ids', '1', '--quantize', 'q5'], 'It must be q8, q4 or q4s.'],
      [[gpt2, '--input-ids', '1,x'], 'It must be ids such as 8,65,50.'],
      [[gpt2, '--input-ids', '1', '--top-p', '1.5'], 'It must be a number from 0 to 1.'],
      [[gpt2, '--input-ids', '1', '--num-beams', '0'], 'It must be a whole number of at least 1.'],
      [
        [gpt2, '--input-ids', '1', '--num-beams', '2', '--top-k', '5'],
        'beam search takes no --top-k: leave it or --num-beams out',
      ],
      [
        [gpt2, '--input-ids', '1', '--early-stopping'],
        '--early-stopping is for beam search: give --num-beams of 2 or more with it',
      ],
      [[gpt2, '--input-ids', Array(41).fill(1).join()], 'the prompt has 41 tokens; the model takes 40'],
      [[fixture('resnet-paper'), '--input-ids', '1'], 'ResNet is no model that generates text'],
    ]
    for (const [args, message] of wrong) await expect(generate(...args), args.join(' ')).rejects.toThrow(message)
    pipe('\n')
    await expect(generate(gpt2)).rejects.toThrow('gpt2 has no tokenizer: give --input-ids')
  })
})
