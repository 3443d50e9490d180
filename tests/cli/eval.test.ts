import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, afterEach, describe, expect, it, vi } from 'vitest'
import { evalCommand } from '../../src/cli/eval.ts'

const root = mkdtempSync(join(tmpdir(), 'jackdaw-eval-command-'))
afterAll(() => rmSync(root, { recursive: true }))
const sets = join(root, 'sets')
mkdirSync(sets)
const write = (name: string, text: string): string => {
  writeFileSync(join(sets, name), text)
  return join(sets, name)
}
const lines = (...entries: object[]): string => entries.map((entry) => `${JSON.stringify(entry)}\n`).join('')

write(
  'addsub.json',
  JSON.stringify([1, 2, 3].map((n) => ({ sQuestion: `What is ${n} + 1?`, lSolutions: [`${n + 1}`] }))),
)
write(
  'strategyqa.json',
  JSON.stringify({
    examples: ['Is it cold?', 'Is it warm?'].map((input) => ({ input, target_scores: { Yes: 1, No: 0 } })),
  }),
)
const text = write('book.txt', 'The bird sat on the tower, and the bird sang. '.repeat(8))
const pairs = write('pairs.jsonl', lines({ input: 'w1 w2', output: 'w3' }, { input: 'w4', output: 'w5 w6' }))

/** Runs the command. @returns its standard output */
async function evaluate(...args: string[]): Promise<string> {
  let output = ''
  vi.spyOn(process.stdout, 'write').mockImplementation((chunk) => {
    output += chunk
    return true
  })
  const command = evalCommand()
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
  await command.parseAsync(args, { from: 'user' })
  return output
}

const MODEL = 'jackdaw-base'
/** Its context is short. */
const SHORT = ['--max-new-tokens', '4', '--slots', '2']

afterEach(() => {
  vi.restoreAllMocks()
})

describe('jackdaw eval', () => {
  it('lists tasks, what their files are called, and groups', async () => {
    const said = await evaluate('--list')
    expect(said).toMatch(/gsm8k +word problems .* \(gsm8k-test\.jsonl\)/)
    expect(said).toMatch(/multiple-choice[\s\S]*\{"question": "…"/)
    expect(said).toMatch(/arithmetic +gsm8k, svamp/)
  })

  it('scores a shipped model on data sets in a folder: a table, or JSON, and files to go on from', async () => {
    const out = join(root, 'out')
    const flags = ['--tasks', 'addsub,strategyqa', '--data', sets, '--out', out, ...SHORT]
    const table = await evaluate(MODEL, ...flags)
    expect(table).toMatch(/addsub +3 +0 +none +exact_match ↑ +\d\.\d{4}/)
    expect(table).toMatch(/strategyqa +2 +0 +none +acc ↑/)
    const written = JSON.parse(readFileSync(join(out, 'results.json'), 'utf8'))
    const again = JSON.parse(await evaluate(MODEL, ...flags, '--json'))
    expect(again.results).toEqual(written.results)
    expect(Object.keys(again.results.strategyqa)).toEqual(
      expect.arrayContaining(['acc,none', 'acc_stderr,none', 'acc_norm,none', 'alias']),
    )
    expect(again.config.model_args).toMatchObject({ pretrained: MODEL })
  })

  it('takes tasks first, too, and one file by name', async () => {
    const json = await evaluate(
      'addsub',
      '--model',
      MODEL,
      '--data',
      `addsub=${join(sets, 'addsub.json')}`,
      ...SHORT,
      '--json',
    )
    expect(JSON.parse(json)['n-samples']).toEqual({ addsub: { original: 3, effective: 3 } })
  })

  it('tells perplexity as it always did, and as a task the same', async () => {
    const old = await evaluate('perplexity', '--model', MODEL, '--data', text, '--seq', '32')
    expect(old).toMatch(/^perplexity +\d+\.\d{3}\nloss +\d\.\d{4} nats a token\nbits a byte +\d\.\d{4}\ntokens +\d+\n$/)
    const { perplexity } = JSON.parse(
      await evaluate('perplexity', '--model', MODEL, '--data', text, '--seq', '32', '--json'),
    )
    const flags = ['--tasks', 'perplexity', '--data', text, '--seq', '32', '--out', join(root, 'book'), '--json']
    const { results } = JSON.parse(await evaluate(MODEL, ...flags))
    expect(results.perplexity['perplexity,none']).toBeCloseTo(perplexity.perplexity, 3)
    expect(results.perplexity['bits_per_byte,none']).toBeCloseTo(perplexity.bitsPerByte, 4)
  })

  it('asks a model with an encoder', async () => {
    const t5 = join(root, 't5')
    cpSync(fileURLToPath(new URL('../parity/t5', import.meta.url)), t5, { recursive: true })
    const vocab = Object.fromEntries(
      ['<pad>', '</s>', '<unk>', ...Array.from({ length: 44 }, (_, i) => `w${i}`)].map((word, id) => [word, id]),
    )
    const tokenizer = {
      ...{ version: '1.0', truncation: null, padding: null, normalizer: null, post_processor: null, decoder: null },
      added_tokens: [],
      pre_tokenizer: { type: 'WhitespaceSplit' },
      model: { type: 'WordLevel', vocab, unk_token: '<unk>' },
    }
    writeFileSync(join(t5, 'tokenizer.json'), JSON.stringify(tokenizer))
    const said = JSON.parse(
      await evaluate(
        t5,
        '--tasks',
        'generation',
        '--data',
        pairs,
        '--num-beams',
        '2',
        '--max-new-tokens',
        '4',
        '--json',
      ),
    )
    expect(said.results.generation).toHaveProperty('bleu,none')
    const choice = write('choice.jsonl', lines({ question: 'w1 w2', choices: ['w3', 'w5 w6'], answer: 'w3' }))
    const chosen = JSON.parse(await evaluate(t5, '--tasks', 'multiple-choice', '--data', choice, '--json'))
    expect([0, 1]).toContain(chosen.results['multiple-choice']['acc,none'])
    await expect(evaluate(t5, '--tasks', 'perplexity,generation', '--data', text)).rejects.toThrow(
      'does not continue text',
    )
  })

  it.each<[string, string[], string]>([
    ['no model', [], 'name a model: jackdaw eval MODEL --tasks NAME; --list tells the tasks'],
    ['no task', [MODEL], 'name tasks: --tasks NAME,NAME; jackdaw eval --list tells them all'],
    ['an unknown task', [MODEL, '--tasks', 'chess'], "there is no task 'chess'; there are gsm8k"],
    [
      'no data',
      [MODEL, '--tasks', 'addsub'],
      'addsub needs --data FOLDER, one that has addsub.json, or --data addsub=FILE',
    ],
    ['no such data', [MODEL, '--tasks', 'addsub', '--data', 'nowhere'], 'nowhere: there is no such file or folder'],
    ['data of others', [MODEL, '--tasks', 'aqua', '--data', sets], 'has no aqua-test.jsonl, which aqua needs'],
    ['a text that is missing', [MODEL, '--tasks', 'generation'], 'generation needs --data FILE'],
    [
      'a file of another form',
      [MODEL, '--tasks', 'gsm8k', '--data', pairs, '--num-fewshot', '1'],
      'pairs.jsonl, line 1: "question"',
    ],
  ])('says in a sentence what is wrong: %s', async (_, args, sentence) => {
    await expect(evaluate(...args)).rejects.toThrow(sentence)
  })
})
