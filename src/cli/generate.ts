import { Command, InvalidArgumentError, Option } from 'commander'
import type { LengthNorm } from '../generate/beam.ts'
import type { CachedDecoder, Prompt } from '../generate/decoder.ts'
import type { LoadedModel } from '../load/load.ts'
import type { Tokenizer } from '../text/tokenizer.ts'
import { withDownloadBar } from './download-bar.ts'
import { collect, integer, number, providerOption, type Quantize, quantizeOption } from './flags.ts'

interface GenerateOptions {
  inputIds?: number[]
  json?: boolean
  maxNewTokens: number
  eosTokenId?: number[]
  stop?: string[]
  numBeams: number
  lengthPenalty?: number
  lengthNorm?: LengthNorm
  earlyStopping?: boolean
  temperature?: number
  topK?: number
  topP?: number
  minP?: number
  seed?: number
  repetitionPenalty?: number
  presencePenalty?: number
  frequencyPenalty?: number
  quantize?: Quantize
  provider: 'cpu' | 'webgpu' | 'cuda'
  threads?: number
}

/** Any of these means that tokens are drawn. */
const SAMPLING = ['temperature', 'topK', 'topP', 'minP', 'seed'] as const
/** These change what one sequence may say next; beam search scores sequences as the model does. */
const PENALTIES = ['repetitionPenalty', 'presencePenalty', 'frequencyPenalty', 'stop'] as const
const BEAMS = ['lengthPenalty', 'lengthNorm', 'earlyStopping'] as const

export const generateCommand = (): Command =>
  new Command('generate')
    .description(
      'continue a text, answer it where the model has an encoder, or fill its blanks ([MASK], [sMASK], [gMASK]) where the model does that; greedy, unless told to sample or search',
    )
    .argument('<model>', 'a folder, hf:owner/name, gguf:FILE or the name of a shipped model')
    .argument('[prompt]', 'the text; standard input where neither it nor --input-ids is given')
    .option('--input-ids <ids>', 'token ids instead of a text: 8,65,50', tokenIds)
    .option('--json', 'print {"outputIds": [...]}: the prompt, or the start token of a decoder, and what follows')
    .option('--max-new-tokens <number>', 'end after this many', integer(1), 256)
    .option('--eos-token-id <ids>', 'tokens that end a text, instead of those that the model names', tokenIds)
    .option('--stop <text>', 'end before this text; repeatable', collect)
    .optionsGroup('Beam search:')
    .option('--num-beams <number>', 'sequences to follow at a time', integer(1), 1)
    .option('--length-penalty <number>', 'rank by log P / length^penalty; 1 where left out', number())
    .addOption(
      new Option(
        '--length-norm <form>',
        'of the penalty: length, or (5 + length) / 6 as in the Transformer’s paper',
      ).choices(['length', 'gnmt']),
    )
    .option('--early-stopping', 'end as soon as as many texts have ended as there are beams')
    .optionsGroup('Sampling:')
    .option('--temperature <number>', 'divide logits by this; 0 is greedy', number(0))
    .option('--top-k <number>', 'draw from the k likeliest tokens', integer(0))
    .option('--top-p <number>', 'draw from the likeliest tokens that have this probability together', number(0, 1))
    .option('--min-p <number>', 'draw from tokens at least this likely, relative to the likeliest', number(0, 1))
    .option('--seed <number>', 'the same seed draws the same tokens', integer(0))
    .option('--repetition-penalty <number>', 'divide the logits of tokens already there by this', number(0))
    .option('--presence-penalty <number>', 'subtract this from the logits of tokens generated', number())
    .option('--frequency-penalty <number>', 'subtract this once for each time a token was generated', number())
    .optionsGroup('Running:')
    .addOption(quantizeOption())
    .addOption(providerOption())
    .option('--threads <number>', 'threads of the CPU provider', integer(1))
    .addHelpText('after', "\nExample:\n  jackdaw generate jackdaw-base 'The jackdaw is' --temperature 0.8 --top-p 0.95")
    .action(run)

async function run(reference: string, prompt: string | undefined, options: GenerateOptions): Promise<void> {
  refuseContradictions(prompt, options)
  const text = options.inputIds ? undefined : (prompt ?? (await readPrompt()))
  const [{ nodeBackend }, { loadModel }, { CachedDecoder, writerOf }] = await Promise.all([
    import('../runtime/ort-node.ts'),
    import('../load/load.ts'),
    import('../generate/decoder.ts'),
    import('../runtime/node.ts'),
  ])
  await nodeBackend(options.provider, { threads: options.threads })
  const loaded = await withDownloadBar((onProgress) =>
    loadModel(reference, { quantize: options.quantize, mapped: true, onProgress }),
  )
  const writer = writerOf(loaded.model)
  const fillsBlanks = writer.kind === 'causal' && writer.fillsBlanks === true
  const promptIds = options.inputIds ?? needTokenizer(loaded, 'give --input-ids').encode(text ?? '')
  if (promptIds.length === 0) throw new Error('the prompt is empty: there is nothing to continue')
  refuseUnknownIds([...promptIds, ...(options.eosTokenId ?? [])], loaded)
  if (options.stop) needTokenizer(loaded, 'leave --stop out')
  const decoder = await CachedDecoder.create(writer, loaded.weights, {
    slots: options.numBeams,
    // Each blank has a token in front of it, and a text without one gets one.
    capacity: promptIds.length + options.maxNewTokens + (fillsBlanks ? promptIds.length + 2 : 0),
    provider: options.provider,
    // What reads a text in both directions reads the weights where they lie.
    copyWeights: !fillsBlanks,
  }).finally(loaded.releaseFiles)
  try {
    if (fillsBlanks) await fill(decoder, promptIds, loaded, options)
    else await answer(decoder, promptIds, loaded, options, text !== undefined)
  } finally {
    decoder.release()
  }
}

/** Tells the answer, as it comes where it is text. */
async function answer(
  decoder: CachedDecoder,
  promptIds: readonly number[],
  { tokenizer, stopTokenIds }: LoadedModel,
  options: GenerateOptions,
  promptIsText: boolean,
): Promise<void> {
  const ends = options.eosTokenId ?? stopTokenIds
  const { StopText } = await import('../generate/stop-text.ts')
  const stopText = new StopText(options.stop ?? [])
  const detokenizer = tokenizer?.stream({ skipSpecialTokens: true })
  const ids: number[] = []
  let text = ''
  const say = (piece: string): void => {
    text += piece
    if (!options.json) process.stdout.write(piece)
  }
  for await (const id of newTokens(decoder, decoder.promptOf(promptIds), { ...options, stopTokenIds: ends })) {
    ids.push(id)
    if (detokenizer && !ends.includes(id)) say(stopText.push(detokenizer.push(id)))
    if (stopText.stopped) break
  }
  if (detokenizer) say(stopText.push(detokenizer.flush()) + stopText.flush())
  const outputIds = [...decoder.restOf(decoder.promptOf(promptIds)), ...ids]
  if (options.json) process.stdout.write(`${JSON.stringify({ outputIds, ...(promptIsText ? { text } : {}) })}\n`)
  else process.stdout.write(tokenizer ? '\n' : `${outputIds.join(' ')}\n`)
}

/** Tells the text with its blanks filled; of all blanks together, as many new tokens as were asked for. */
async function fill(
  decoder: CachedDecoder,
  promptIds: readonly number[],
  loaded: LoadedModel,
  options: GenerateOptions,
): Promise<void> {
  const { blankIdsOf, fillBlanks, filledText, withBlank } = await import('../generate/fill-blanks.ts')
  const tokenizer = needTokenizer(loaded, 'nothing says which tokens are blanks')
  if (options.stop) throw new Error('a blank ends where the model ends it: leave --stop out')
  const specials = blankIdsOf(tokenizer, loaded.name)
  const ids = withBlank(promptIds, specials)
  const stopTokenIds = options.eosTokenId ?? [specials.endId, ...loaded.stopTokenIds]
  const outputIds = [...ids]
  let room = options.maxNewTokens
  const filled = await fillBlanks(ids, specials, async (prompt) => {
    const written: number[] = []
    if (room > 0) {
      for await (const id of newTokens(decoder, prompt, { ...options, maxNewTokens: room, stopTokenIds })) {
        written.push(id)
      }
    }
    room -= written.length
    outputIds.push(specials.startId, ...written)
    return stopTokenIds.includes(written[written.length - 1]) ? written.slice(0, -1) : written
  })
  const text = tokenizer.decode(filledText(ids, filled, specials), { skipSpecialTokens: true })
  if (!options.json) process.stdout.write(`${text}\n`)
  else {
    const blanks = filled.map((blank) => tokenizer.decode(blank))
    process.stdout.write(`${JSON.stringify({ outputIds, text, blanks })}\n`)
  }
}

async function* newTokens(
  decoder: CachedDecoder,
  prompt: Prompt,
  options: GenerateOptions & { stopTokenIds: readonly number[] },
): AsyncGenerator<number> {
  const { numBeams, lengthPenalty, lengthNorm, earlyStopping, maxNewTokens, stopTokenIds } = options
  if (numBeams > 1) {
    const { beamSearch } = await import('../generate/beam.ts')
    const beams = { nBeams: numBeams, lengthPenalty, lengthNorm, earlyStopping, maxNewTokens, stopTokenIds }
    yield* await beamSearch(decoder, prompt, beams)
    return
  }
  const { Engine } = await import('../generate/engine.ts')
  const { temperature, topK, topP, minP, seed, repetitionPenalty, presencePenalty, frequencyPenalty } = options
  const draws = SAMPLING.some((name) => options[name] !== undefined)
  const events = new Engine(decoder).generate({
    ...prompt,
    ...{ maxNewTokens, stopTokenIds, topK, topP, minP, seed, repetitionPenalty, presencePenalty, frequencyPenalty },
    temperature: temperature ?? (draws ? 1 : 0),
  })
  for await (const event of events) if (event.type === 'token') yield event.id
}

function refuseContradictions(prompt: string | undefined, options: GenerateOptions): void {
  if (prompt !== undefined && options.inputIds) throw new Error('give a prompt or --input-ids, not both')
  const given = (names: readonly (keyof GenerateOptions)[]) => names.filter((name) => options[name] !== undefined)
  if (options.numBeams > 1) {
    const [first] = given([...SAMPLING, ...PENALTIES])
    if (first) throw new Error(`beam search takes no ${flag(first)}: leave it or --num-beams out`)
  } else {
    const [first] = given(BEAMS)
    if (first) throw new Error(`${flag(first)} is for beam search: give --num-beams of 2 or more with it`)
  }
}

const flag = (name: string): string => `--${name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`

function needTokenizer({ name, tokenizer }: LoadedModel, otherwise: string): Tokenizer {
  if (!tokenizer) throw new Error(`${name} has no tokenizer: ${otherwise}`)
  return tokenizer
}

function refuseUnknownIds(ids: readonly number[], { model, name }: LoadedModel): void {
  if (!('vocabSize' in model) || typeof model.vocabSize !== 'number') return
  const { vocabSize } = model
  const unknown = ids.find((id) => id >= vocabSize)
  if (unknown !== undefined) throw new Error(`${unknown} is no token of ${name}: its ids are 0 to ${vocabSize - 1}`)
}

/** The last line break belongs to the shell, not to the prompt. */
async function readPrompt(): Promise<string> {
  if (process.stdin.isTTY) throw new Error('give a prompt: as an argument, on standard input, or as --input-ids')
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(chunk)
  return Buffer.concat(chunks)
    .toString('utf8')
    .replace(/\r?\n$/, '')
}

function tokenIds(text: string): number[] {
  return text.split(',').map((word) => {
    const id = Number(word)
    if (!/^\s*\d+\s*$/.test(word) || id >= 2 ** 31) throw new InvalidArgumentError('It must be ids such as 8,65,50.')
    return id
  })
}
