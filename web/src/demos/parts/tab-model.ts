import {
  compile,
  int32,
  modelFromConfig,
  nn,
  type Program,
  type Tensor,
  type Tokenizer,
  tokenizerFromJson,
  trace,
  type Weights,
  webBackend,
  weightsFromSafetensors,
} from '../../../../src/browser.ts'
import type { TabModel } from '../../../../src/server/wire.ts'
import { getTabModelFile } from '../../client.ts'

type CausalLm = nn.CausalLm

/** Small models, run in this tab by the same code that runs them on a server. */

/** One thread: they are small, and the page goes on beside them. */
const backend = () => webBackend('wasm', { threads: 1 })

async function json(model: TabModel, file: string): Promise<unknown> {
  return JSON.parse(await (await getTabModelFile(model, file)).text())
}

const tokenizers = new Map<string, Promise<Tokenizer>>()

export const keyOf = ({ place, name }: TabModel): string => `${place} ${name}`

export const openTokenizer = (model: TabModel): Promise<Tokenizer> =>
  once(tokenizers, keyOf(model), async () => {
    const [own, settings] = await Promise.all([json(model, 'tokenizer.json'), json(model, 'tokenizer_config.json')])
    return tokenizerFromJson(own, settings)
  })

/** A model with its weights, in this tab. */
export interface LoadedNetwork {
  readonly name: string
  readonly model: nn.Model
  readonly weights: Weights
}

/** The same with its tokenizer. */
export interface Loaded extends LoadedNetwork {
  readonly tokenizer: Tokenizer
}

const networks = new Map<string, Promise<LoadedNetwork>>()
const loaded = new Map<string, Promise<Loaded>>()

/** What reads no text, such as a policy. Loaded once, however many demos use it. */
export const loadTabNetwork = (entry: TabModel): Promise<LoadedNetwork> =>
  once(networks, keyOf(entry), async () => {
    const [config, file] = await Promise.all([
      json(entry, 'config.json') as Promise<Record<string, unknown>>,
      getTabModelFile(entry, 'model.safetensors'),
      backend(),
    ])
    const weights = weightsFromSafetensors(new Uint8Array(await file.arrayBuffer()), entry.name)
    return { name: entry.name, model: modelFromConfig(config, weights.keys()).model, weights }
  })

/** Loaded once, however many demos use it. */
export const loadTabModel = (entry: TabModel): Promise<Loaded> =>
  once(loaded, keyOf(entry), async () => {
    const [network, tokenizer] = await Promise.all([loadTabNetwork(entry), openTokenizer(entry)])
    return { ...network, tokenizer }
  })

/** A model that continues text, in this tab. */
export class TabCausal {
  private attending: Promise<Program<Record<string, Tensor>>> | undefined

  private constructor(
    readonly tokenizer: Tokenizer,
    private readonly model: CausalLm,
    private readonly weights: Weights,
    private readonly program: Program<{ logits: Tensor }>,
  ) {}

  static async open(entry: TabModel): Promise<TabCausal> {
    const { model, weights, tokenizer } = await loadTabModel(entry)
    if (model.kind !== 'causal') throw new Error(`${entry.name} is no model that continues text`)
    const causal = model as CausalLm
    const traced = trace(
      (scope, { inputIds, logitsAt }) => ({ logits: causal.forward(scope, { inputIds }, { logitsAt }).logits }),
      { inputIds: int32('batch', 'seq'), logitsAt: int32('rows') },
    )
    return new TabCausal(tokenizer, causal, weights, await compile(traced, weights))
  }

  get vocabSize(): number {
    return this.model.vocabSize
  }

  get maxPositions(): number {
    return this.model.maxPositions
  }

  /**
   * Logits at some positions of texts of one length.
   *
   * @param logitsAt - positions, counted through all texts; the last of each where left out
   * @returns [logitsAt.length, vocabSize]
   */
  async logits(texts: readonly (readonly number[])[], logitsAt?: readonly number[]): Promise<Float32Array> {
    const seq = texts[0].length
    const at = logitsAt ?? texts.map((_, i) => (i + 1) * seq - 1)
    const { logits } = await this.program({
      inputIds: { dtype: 'int32', shape: [texts.length, seq], data: Int32Array.from(texts.flat()) },
      logitsAt: { dtype: 'int32', shape: [at.length], data: Int32Array.from(at) },
    })
    return logits.data as Float32Array
  }

  /** Of each layer: [nHeads, seq, seq]. Compiled when it is first asked for. */
  async attention(ids: readonly number[]): Promise<{ nHeads: number; layers: Float32Array[] }> {
    this.attending ??= this.compileAttention()
    const run = await this.attending
    const outputs = await run({
      inputIds: { dtype: 'int32', shape: [1, ids.length], data: Int32Array.from(ids) },
    })
    const maps = Object.keys(outputs).map((_, layer) => outputs[`attention.${layer}`])
    return { nHeads: maps[0].shape[1], layers: maps.map(({ data }) => data as Float32Array) }
  }

  private compileAttention(): Promise<Program<Record<string, Tensor>>> {
    const traced = trace(
      (scope, { inputIds }): Record<string, Tensor> => {
        const watched = new nn.AttentionMaps(inputIds.shape[1])
        this.model.forward(scope, { inputIds }, { cache: watched })
        return watched.outputs
      },
      { inputIds: int32(1, 'seq') },
    )
    return compile(traced, this.weights)
  }
}

/** Opened once, however many demos use it. */
const opened = new Map<string, Promise<TabCausal>>()

export const openCausal = (entry: TabModel): Promise<TabCausal> =>
  once(opened, keyOf(entry), () => TabCausal.open(entry))

/** What failed is tried again when it is asked for again. */
function once<T>(known: Map<string, Promise<T>>, key: string, make: () => Promise<T>): Promise<T> {
  let promise = known.get(key)
  if (!promise) {
    promise = make()
    known.set(key, promise)
    promise.catch(() => known.delete(key))
  }
  return promise
}
