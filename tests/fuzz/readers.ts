import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { pino } from 'pino'
import { samplerFromConfig } from '../../src/generate/samplers.ts'
import type { Checkpoint } from '../../src/hub/checkpoint.ts'
import { openPipeline } from '../../src/hub/diffusers.ts'
import { ggufFromConfig } from '../../src/hub/gguf/config.ts'
import { type GgufValue, openGguf } from '../../src/hub/gguf/file.ts'
import { openGgufAsHuggingFace } from '../../src/hub/gguf/names.ts'
import { quantize, WRITABLE_TYPES } from '../../src/hub/gguf/quantize.ts'
import { writeGguf } from '../../src/hub/gguf/write.ts'
import { openCheckpoint } from '../../src/hub/open.ts'
import { openIndex, openSafetensors } from '../../src/hub/safetensors.ts'
import { imageKind } from '../../src/image/kind.ts'
import { loadModel } from '../../src/load/load.ts'
import { exportOnnx, openOnnx } from '../../src/load/onnx-file.ts'
import { modelFromConfig } from '../../src/load/registry.ts'
import { StoppedError, TextProcess } from '../../src/load/text-process.ts'
import { finder } from '../../src/load/weights.ts'
import { traceModel } from '../../src/nn/model.ts'
import { createApp } from '../../src/server/app.ts'
import { check, RequestError } from '../../src/server/errors.ts'
import * as wire from '../../src/server/wire.ts'
import { sizeOf } from '../../src/tensor/data.ts'
import { tokenizerFromGguf } from '../../src/text/gguf-tokenizer.ts'
import { tokenizerFromGpt2 } from '../../src/text/load.ts'
import { type Tokenizer, tokenizerFromJson } from '../../src/text/tokenizer.ts'
import { samples as pictures } from '../image/samples.ts'
import { MockModel } from '../server/mock-model.ts'
import { noStore } from '../server/support.ts'
import { type Dice, mutateBytes, mutateJson } from './mutate.ts'

/** Everything that reads what others wrote, each with what it is given undamaged. */
export interface Reader {
  readonly name: string
  /** Damages one of its originals and reads it. Throws where that goes wrong in a way that it must not. */
  run(dice: Dice): void | Promise<void>
  /** Waits for another process: others may be read meanwhile. */
  readonly waits?: boolean
}

const PARITY = fileURLToPath(new URL('../parity/', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'jackdaw-fuzz-'))
process.once('exit', () => rmSync(folder, { recursive: true, force: true }))
const place = (name: string): string => join(folder, name)

/** What went wrong in a way that nobody foresaw: anything but an `Error` that says one sentence. */
function mustBeSentence(error: unknown): void {
  const isPlain =
    error instanceof Error &&
    !(error instanceof TypeError || error instanceof ReferenceError || error instanceof SyntaxError) &&
    // Configurations are refused with RangeErrors, with a sentence of their own; the engine's are others.
    !/^(Maximum call|Invalid (array|string|typed)|Array buffer|Set maximum|Map maximum|internal)/.test(error.message) &&
    !/\n/.test(error.message) &&
    error.message.length < 1000
  if (!isPlain) throw error instanceof Error ? error : new Error(`thrown: ${String(error)}`)
}

/** Reads, and lets an error pass that is a sentence. */
function refusing(read: () => void): void {
  try {
    read()
  } catch (error) {
    mustBeSentence(error)
  }
}

function readAll(checkpoint: Checkpoint): void {
  try {
    for (const name of checkpoint.names()) {
      refusing(() => {
        const { shape, byteLength } = checkpoint.info(name)
        if (checkpoint.readRaw(name).length !== byteLength) throw new TypeError('readRaw gives other bytes')
        if (checkpoint.read(name).length !== sizeOf(shape)) throw new TypeError('read gives other elements')
      })
    }
  } finally {
    checkpoint.close()
  }
}

const TEXTS = [
  "The jackdaw is a bird, isn't it?",
  ' '.repeat(3000),
  'a'.repeat(3000),
  `${' '.repeat(2000)}x${'\n'.repeat(500)}`,
  'Ω≈ç√ 日本語テスト 😀👩‍👩‍👧 \u0000\ud800 ﷺ',
  '<s></s>[CLS]<|im_start|><unk>##a▁b',
]

/** Encodes where that takes no process of its own, and decodes, at once and as a stream. */
function tryTokenizer(tokenizer: Tokenizer): void {
  refusing(() => {
    const ids = tokenizer.isPlain ? TEXTS.flatMap((text) => tokenizer.encode(text)) : [0, 1, 2, 3, 300]
    const some = [...ids.slice(0, 2000), 0, -1, 2 ** 30]
    const whole = tokenizer.decode(some)
    const stream = tokenizer.stream()
    const pieces = some.map((id) => stream.push(id))
    if (pieces.join('') + stream.flush() !== whole) throw new TypeError('a stream says something else')
    tokenizer.toJSON()
    tokenizer.toConfigJSON()
  })
}

const readJson = (path: string): Record<string, unknown> => JSON.parse(readFileSync(path, 'utf8'))

const ALPHABET = [...'abcdefghijklmnopqrstuvwxyz <>/s.,▁Ġ']
const vocabOf = (tokens: readonly string[]) => Object.fromEntries(tokens.map((token, id) => [token, id]))

/** The metadata of two kinds of tokenizers, for GGUF files. */
function ggufTokenizers(): Map<string, GgufValue>[] {
  const strings = (value: string[]): GgufValue => ({ type: 'array', itemType: 'string', value })
  const tokens = ['<unk>', '<s>', '</s>', ...ALPHABET, 'ab', 'abc', '▁a']
  const common: [string, GgufValue][] = [
    ['tokenizer.ggml.tokens', strings(tokens)],
    ['tokenizer.ggml.token_type', { type: 'array', itemType: 'int32', value: tokens.map((_, i) => (i < 3 ? 3 : 1)) }],
    ['tokenizer.ggml.bos_token_id', { type: 'uint32', value: 1 }],
    ['tokenizer.ggml.eos_token_id', { type: 'uint32', value: 2 }],
    ['tokenizer.chat_template', { type: 'string', value: '{{ messages[0].content }}' }],
  ]
  const gpt2: [string, GgufValue][] = [
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: 'smollm' }],
    ['tokenizer.ggml.merges', strings(['a b', 'ab c'])],
  ]
  const llama: [string, GgufValue][] = [
    ['tokenizer.ggml.model', { type: 'string', value: 'llama' }],
    ['tokenizer.ggml.scores', { type: 'array', itemType: 'float32', value: tokens.map((_, i) => -i) }],
  ]
  return [gpt2, llama].map((own) => new Map([...common, ...own]))
}

async function ggufFiles(): Promise<Buffer[]> {
  const config = {
    architectures: ['LlamaForCausalLM'],
    vocab_size: 4,
    hidden_size: 32,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    rms_norm_eps: 1e-5,
  }
  const rows = { 'token_embd.weight': 4, 'blk.0.attn_q.weight': 32, 'blk.0.attn_k.weight': 32, 'output_norm.weight': 1 }
  const files: Buffer[] = []
  for (const [i, tokenizer] of ggufTokenizers().entries()) {
    const { metadata } = ggufFromConfig(config)
    for (const [key, value] of tokenizer) metadata.set(key, value)
    const tensors = Object.entries(rows).map(([name, count], j) => {
      const type = WRITABLE_TYPES[(i * 3 + j) % WRITABLE_TYPES.length]
      return { name, type, shape: [count, 32], bytes: () => quantize(type, new Float32Array(count * 32).fill(0.5)) }
    })
    await writeGguf(place('original.gguf'), metadata, tensors)
    files.push(readFileSync(place('original.gguf')))
  }
  return files
}

const TEMPLATES = [
  "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
  "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set offset = 1 %}{% else %}{% set offset = 0 %}{% endif %}{% for m in messages[offset:] %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Roles must alternate') }}{% endif %}[{{ m.role | upper }}] {{ m.content | trim }} {% endfor %}",
  "{%- set ns = namespace(n=0, s='') -%}{%- for i in range(10) -%}{%- set ns.n = ns.n + i * 2 -%}{%- set ns.s = ns.s ~ messages[0].content[:i] -%}{%- endfor -%}{{ ns.n }}{{ ns.s | length }}{{ messages | tojson(indent=2) }}",
  "{% macro turn(m) %}<{{ m.role }}>{{ m.content.strip().split(' ') | join('_') }}{% endmacro %}{% for m in messages if m.role != 'system' %}{{ turn(m) }}{{ '' if loop.last else ', ' }}{% else %}nothing{% endfor %}{{ messages | map(attribute='role') | list }}",
]
const MESSAGES = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'What is a jackdaw?' },
  { role: 'assistant', content: 'A bird.' },
  { role: 'user', content: 'Does it sing? ' },
]

const BODIES: readonly (readonly [string, unknown])[] = [
  [
    '/v1/chat/completions',
    {
      model: 'mock',
      messages: MESSAGES,
      temperature: 0.7,
      max_tokens: 5,
      n: 2,
      stream: true,
      stop: ['x'],
      logit_bias: { '3': 1 },
      seed: 3,
    },
  ],
  [
    '/v1/chat/completions',
    {
      model: 'mock',
      messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }] }],
      logprobs: true,
      top_logprobs: 2,
      truncation: 'auto',
    },
  ],
  [
    '/v1/completions',
    {
      model: 'mock',
      prompt: ['a', 'b'],
      max_tokens: 3,
      echo: true,
      logprobs: 1,
      stream_options: { include_usage: true },
    },
  ],
  [
    '/v1/completions',
    { model: 'mock', prompt: [[1, 2], [3]], max_tokens: 2, presence_penalty: 1, frequency_penalty: -1, top_p: 0.9 },
  ],
  ['/v1/embeddings', { model: 'mock', input: ['a', 'b'], encoding_format: 'base64' }],
]

const PAGE_BODIES = [
  [wire.createConversation, { title: 'Birds', settings: { systemPrompt: 'x', temperature: 1, topK: 3, seed: 1 } }],
  [wire.updateConversation, { title: 'Birds', settings: { maxNewTokens: 30 } }],
  [wire.addMessage, { role: 'user', content: 'a', parentId: null }],
  [wire.reply, { parentId: null, content: 'What is it?' }],
  [wire.feedback, { rating: 'up', comment: 'good' }],
  [wire.listQuery, { limit: '20', search: 'a' }],
] as const

/** @param deadlineMs - of one template */
export async function openReaders(deadlineMs = 1000): Promise<Reader[]> {
  const bytesReader = (
    name: string,
    originals: readonly Uint8Array[],
    read: (path: string) => void,
    file = name,
  ): Reader => ({
    name,
    run: (dice) => {
      const bytes = mutateBytes(dice, dice.oneOf(originals), dice.oneOf(originals))
      writeFileSync(place(file), bytes)
      refusing(() => read(place(file)))
    },
  })
  /** Damaged as a document, and now and then as bytes. */
  const jsonReader = (name: string, originals: readonly unknown[], read: (json: unknown) => void): Reader => ({
    name,
    run: (dice) => {
      const original = dice.oneOf(originals)
      let json: unknown
      if (dice.chance(8)) {
        const bytes = Buffer.from(JSON.stringify(original))
        try {
          json = JSON.parse(mutateBytes(dice, bytes, bytes).toString())
        } catch {
          return
        }
      } else json = mutateJson(dice, original)
      refusing(() => read(json))
    },
  })

  const safetensors = ['llama/model', 'gpt2/inputs', 'resnet-features/outputs', 'unet-no-middle/inputs'].map((name) =>
    readFileSync(join(PARITY, `${name}.safetensors`)),
  )
  const index = { metadata: { total_size: 1 }, weight_map: { a: 'shard.safetensors', 'b.weight': 'shard.safetensors' } }
  const components = readJson(
    fileURLToPath(new URL('../text/fixtures/components.json', import.meta.url)),
  ) as unknown as {
    json: object
  }[]
  const flags = { single_word: false, lstrip: true, rstrip: false, normalized: true }
  const unigram = {
    added_tokens: [
      { id: 0, content: '<unk>', special: true, ...flags },
      { id: 4, content: 'ab', ...flags },
    ],
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Replace', pattern: { Regex: ' {2,}' }, content: ' ' },
        { type: 'Strip', strip_left: true, strip_right: true },
        { type: 'NFKC' },
      ],
    },
    pre_tokenizer: { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ Sequence: { id: 'A' } }, { SpecialToken: { id: '<unk>' } }],
      special_tokens: { '<unk>': { ids: [0] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [{ type: 'Metaspace' }, { type: 'Strip', content: ' ', start: 1, stop: 0 }],
    },
    model: {
      type: 'Unigram',
      unk_id: 0,
      byte_fallback: false,
      vocab: [
        ['<unk>', 0],
        ['▁', -1],
        ['a', -2],
        ['▁a', -3],
        ['ab', -2.5],
      ],
    },
  }
  const tokenizers = [unigram, ...components.map(({ json }) => json)].filter(
    (json) => JSON.stringify(json).length < 12_000,
  )
  const gguf = await ggufFiles()
  const ggufMetadata = ggufTokenizers().map((map) =>
    Object.fromEntries([...map].map(([key, { value }]) => [key, value])),
  )
  const models = [
    'llama',
    'llama-rope-llama3',
    'llama-rope-yarn',
    'gpt2',
    't5',
    't5-gated',
    'resnet-paper',
    'unet-no-middle',
  ]
  const checkpoints = models.map((model) => {
    const checkpoint = openCheckpoint(join(PARITY, model))
    const infos = new Map(checkpoint.names().map((name) => [name, checkpoint.info(name)]))
    const stored = { names: () => [...infos.keys()], info: (name: string) => infos.get(name)! }
    const opened = { config: checkpoint.config, stored }
    checkpoint.close()
    return opened
  })
  const scheduler = {
    _class_name: 'DDPMScheduler',
    num_train_timesteps: 50,
    beta_start: 0.0001,
    beta_end: 0.02,
    beta_schedule: 'linear',
    prediction_type: 'epsilon',
    clip_sample: true,
    trained_betas: null,
  }
  const pipeline = {
    _class_name: 'DDPMPipeline',
    unet: ['diffusers', 'UNet2DModel'],
    scheduler: ['diffusers', 'DDPMScheduler'],
  }
  await exportOnnx(join(PARITY, 'llama'), place('original.onnx'))
  const onnx = [readFileSync(place('original.onnx'))]
  const text = new TextProcess({ kind: 'folder', path: PARITY }, { deadlineMs, memoryMb: 192 })
  const app = createApp({ models: [new MockModel({ length: 3 })], store: noStore(), logger: pino({ level: 'silent' }) })
  mkdirSync(place('pipeline'))
  mkdirSync(place('model'))
  const folderFiles: [string, unknown][] = [
    ['config.json', readJson(join(PARITY, 'llama/config.json'))],
    ['generation_config.json', { eos_token_id: [1, 2], temperature: 0.6 }],
    ['tokenizer.json', unigram],
    ['tokenizer_config.json', { bos_token: 'a', chat_template: 'x' }],
    ['special_tokens_map.json', { eos_token: { content: 'ab' } }],
  ]
  for (const [file, json] of folderFiles) writeFileSync(join(place('model'), file), JSON.stringify(json))
  writeFileSync(place('model/model.safetensors'), safetensors[0])
  mkdirSync(place('sharded'))
  writeFileSync(place('sharded/shard.safetensors'), safetensors[0])

  return [
    bytesReader('safetensors', safetensors, (path) => readAll(openSafetensors(path))),
    bytesReader(
      'gguf',
      gguf,
      (path) => {
        readAll(openGguf(path))
        readAll(openGgufAsHuggingFace(path))
        const checkpoint = openGgufAsHuggingFace(path)
        try {
          refusing(() => tryTokenizer(tokenizerFromGguf(checkpoint.metadata)))
          const { model, modelClass } = modelFromConfig(checkpoint.config, checkpoint.names())
          traceModel(model, { onDeclare: finder(checkpoint, modelClass) })
        } finally {
          checkpoint.close()
        }
      },
      'mutated.gguf',
    ),
    bytesReader('onnx', onnx, (path) => readAll(openOnnx(path))),
    jsonReader('safetensors-index', [index], (json) => {
      writeFileSync(place('sharded/model.safetensors.index.json'), JSON.stringify(json))
      readAll(openIndex(place('sharded/model.safetensors.index.json')))
    }),
    jsonReader('tokenizer.json', tokenizers, (json) => tryTokenizer(tokenizerFromJson(json))),
    jsonReader('gguf-tokenizer', ggufMetadata, (json) => {
      if (typeof json === 'object' && json !== null) tryTokenizer(tokenizerFromGguf(json as Record<string, unknown>))
    }),
    jsonReader(
      'vocab-and-merges',
      [{ vocab: vocabOf([...ALPHABET, 'ab', 'abc', '<|endoftext|>']), merges: '#version: 0.2\na b\nab c\n' }],
      (json) => {
        const { vocab, merges } = (json ?? {}) as { vocab: unknown; merges: unknown }
        tryTokenizer(tokenizerFromGpt2(vocab, String(merges)))
      },
    ),
    jsonReader(
      'tokenizer_config.json',
      [{ bos_token: 'a', eos_token: { content: 'b' }, chat_template: [{ name: 'default', template: 'x' }] }],
      (json) => tryTokenizer(tokenizerFromJson(unigram, json)),
    ),
    jsonReader(
      'config.json',
      checkpoints.map(({ config }) => ({ config })),
      (json) => {
        const { config } = (json ?? {}) as { config?: Record<string, unknown> }
        const original = checkpoints.find((one) => one.config?.model_type === config?.model_type) ?? checkpoints[0]
        const { model, modelClass } = modelFromConfig(config, original.stored.names())
        traceModel(model, { onDeclare: finder(original.stored, modelClass) })
      },
    ),
    {
      name: 'model folder',
      run: async (dice) => {
        const path = place('model')
        const [file, original] = dice.oneOf(folderFiles)
        const whole = Buffer.from(JSON.stringify(original))
        const mutated = dice.chance(2) ? Buffer.from(JSON.stringify(mutateJson(dice, original)) ?? '') : whole
        writeFileSync(join(path, file), mutated === whole ? mutateBytes(dice, whole, whole) : mutated)
        try {
          await loadModel(path)
        } catch (error) {
          mustBeSentence(error)
        } finally {
          writeFileSync(join(path, file), whole)
        }
      },
    },
    jsonReader('model_index.json', [pipeline], (json) => {
      writeFileSync(place('pipeline/model_index.json'), JSON.stringify(json))
      openPipeline(place('pipeline'))
    }),
    jsonReader(
      'scheduler_config.json',
      [scheduler, { ...scheduler, _class_name: 'DDIMScheduler', beta_schedule: 'squaredcos_cap_v2' }],
      (json) => {
        samplerFromConfig(json as Record<string, unknown>)
      },
    ),
    {
      name: 'chat template',
      waits: true,
      run: async (dice) => {
        const bytes = mutateBytes(dice, Buffer.from(dice.oneOf(TEMPLATES)), Buffer.from(dice.oneOf(TEMPLATES)))
        const messages = dice.chance(3) ? MESSAGES.slice(dice.below(3)) : MESSAGES
        try {
          await text.render(bytes.toString(), messages, { addGenerationPrompt: dice.chance(2), bosToken: '<s>' })
        } catch (error) {
          if (!(error instanceof StoppedError)) mustBeSentence(error)
        }
      },
    },
    {
      name: 'request',
      run: async (dice) => {
        const [path, original] = dice.oneOf(BODIES)
        const json = Buffer.from(JSON.stringify(dice.chance(4) ? original : mutateJson(dice, original)) ?? '')
        const body = dice.chance(3) ? mutateBytes(dice, json, json) : json
        const headers = { 'content-type': 'application/json' }
        const response = await app.request(path, { method: 'POST', headers, body: new Uint8Array(body) })
        const answer = await response.text()
        if (response.status >= 500) throw new TypeError(`${response.status}: ${answer.slice(0, 300)}`)
        if (response.status >= 400 && typeof JSON.parse(answer).error.message !== 'string') throw new TypeError(answer)
      },
    },
    {
      name: 'page request',
      run: (dice) => {
        const [schema, original] = dice.oneOf(PAGE_BODIES)
        try {
          check(schema, mutateJson(dice, original))
        } catch (error) {
          if (!(error instanceof RequestError)) throw error
          mustBeSentence(error)
        }
      },
    },
    {
      name: 'picture',
      run: (dice) => {
        const originals = Object.values(pictures)
        const kind = imageKind(mutateBytes(dice, dice.oneOf(originals), dice.oneOf(originals)))
        // No more than sizes that the header's fields can hold.
        if (kind && !(kind.width > 0 && kind.height > 0 && kind.width < 2 ** 32 && kind.height < 2 ** 32)) {
          throw new TypeError(`a picture of ${kind.width} by ${kind.height}`)
        }
      },
    },
  ]
}
