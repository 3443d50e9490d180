import type { TensorData } from '../tensor/data.ts'
import { type NamedShape, shapeOf } from '../tensor/dim.ts'
import { input, type Tensor } from '../tensor/graph.ts'
import type { Backend, Binding, DeviceTensor, Feeds, Provider, RunOptions, Session } from './backend.ts'
import { channelBlock } from './channel-block.ts'
import { type Graph, inputName, lower } from './lower.ts'

/** Opens the backend of a provider; the entry points for Node and for browsers each set theirs. */
type OpenBackend = (provider?: Provider) => Promise<Backend>

let openBackend: OpenBackend | undefined

/** Says where compiled graphs run by default in this process or page. */
export function setBackends(open: OpenBackend): void {
  openBackend = open
}

/** The backend of a provider; this host's default where none is named. */
export function backendFor(provider?: Provider): Promise<Backend> {
  if (!openBackend) throw new Error('no backend is set: import jackdaw, or call setBackends first')
  return openBackend(provider)
}

export interface CompileOptions {
  /** A backend, or the name of its provider. */
  on?: Backend | Provider
  /** Copy constant weights into the layout that kernels like best: faster runs, more memory. Default true. */
  prepack?: boolean
  /** Copy constant weights into the session, so that their arrays can be dropped. Default false: they stay in use. */
  copyWeights?: boolean
  /** Plan the memory of a run ahead: a little faster, up to twice the memory. Default true. Node only. */
  memoryPattern?: boolean
}

/** A graph that runs. */
export class Compiled {
  constructor(
    readonly session: Session,
    /** What the session calls outputs that are called like an input. */
    private readonly renamed: ReadonlyMap<string, string> = new Map(),
    /** Undefined where its weights were copied into the session: they can then be dropped. */
    private readonly graph?: Graph,
  ) {}

  /** Feeds named inputs, answers with every output as a host array. */
  async run(feeds: Feeds, options?: RunOptions): Promise<Record<string, TensorData>> {
    return this.ours(await this.session.run(feeds, options)) as Record<string, TensorData>
  }

  /** The same, with the named outputs left on the device. */
  async runOnDevice(feeds: Feeds, onDevice: readonly string[]): Promise<Record<string, TensorData | DeviceTensor>> {
    return this.ours(
      await this.session.run(feeds, { onDevice: onDevice.map((name) => this.renamed.get(name) ?? name) }),
    )
  }

  /** A call whose arrays are fixed, for many runs in place. */
  bind(inputs: Readonly<Record<string, TensorData>>, outputs: Readonly<Record<string, TensorData>>): Binding {
    const entries = Object.entries(outputs)
    const theirs = entries.map(([name, value]) => [this.renamed.get(name) ?? name, value])
    return this.session.bind(inputs, Object.fromEntries(theirs))
  }

  private ours<Value>(results: Record<string, Value>): Record<string, Value> {
    if (this.renamed.size === 0) return results
    const names = new Map([...this.renamed].map(([ours, theirs]) => [theirs, ours]))
    return Object.fromEntries(Object.entries(results).map(([name, value]) => [names.get(name) ?? name, value]))
  }

  /**
   * The model as a file that ONNX Runtime and Netron open, weights inside. At most 2 GB.
   *
   * @throws Error where the weights were not kept (`copyWeights`)
   */
  toOnnx(): Uint8Array {
    if (!this.graph) throw new Error('toOnnx: the weights are no longer here; compile without copyWeights')
    return lower(this.graph, { inlineWeights: true }).model
  }

  release(): void {
    this.session.release()
  }
}

/** Lowers a recorded graph to ONNX and opens a session on it: what everything that runs stands on. */
export async function compileGraph(graph: Graph, options: CompileOptions = {}): Promise<Compiled> {
  const { on, prepack, copyWeights, memoryPattern } = options
  const backend = typeof on === 'object' ? on : await backendFor(on)
  const { model, initializers, renamed } = lower(graph, {
    channelBlock: await channelBlock(backend),
    scattersInOrder: backend.provider === 'cpu' || backend.provider === 'wasm',
  })
  const session = await backend.createSession(model, {
    initializers,
    prepack,
    copyInitializers: copyWeights,
    memoryPattern,
  })
  return new Compiled(session, renamed, copyWeights ? undefined : graph)
}

type Tensors = Record<string, Tensor>

/**
 * Makes a function over tensors run on arrays. It is traced and compiled once for every signature (names, dtypes and
 * shapes); dimensions named in `shapes` may differ from call to call.
 *
 * ```ts
 * const hypotenuse = jit(({ a, b }) => ({ c: a.mul(a).add(b.mul(b)).sqrt() }))
 * const { c } = await hypotenuse({ a: tensorData('float32', [1], [3]), b: tensorData('float32', [1], [4]) })
 * c.data // Float32Array [ 5 ]
 * ```
 */
export function jit(
  fn: (inputs: Tensors) => Tensors,
  { shapes = {}, ...options }: CompileOptions & { shapes?: Readonly<Record<string, NamedShape>> } = {},
): (feeds: Readonly<Record<string, TensorData>>) => Promise<Record<string, TensorData>> {
  const cache = new Map<string, Promise<Compiled>>()
  return async (feeds) => {
    const entries = Object.entries(feeds).sort(([a], [b]) => (a < b ? -1 : 1))
    const signature = entries.map(([name, { dtype, shape }]) => `${name}:${dtype}[${shapes[name] ?? shape}]`).join()
    let compiled = cache.get(signature)
    if (!compiled) {
      const leaves = entries.map(([name, { dtype, shape }]) => input(name, shapeOf(shapes[name] ?? shape), dtype))
      const outputs = fn(Object.fromEntries(leaves.map((leaf) => [inputName(leaf), leaf])))
      compiled = compileGraph({ inputs: leaves, outputs }, options)
      cache.set(signature, compiled)
    }
    return (await compiled).run(feeds)
  }
}
