import { input, isStatic, type RandomStreams, recompute, type Shape, showShape, Tensor } from '../tensor/index.ts'
import { type Initializer, normal } from './initializers.ts'

/** What the trace of a model learned about one of its parameters. */
export interface ParameterSpec {
  /** As in the official checkpoint: `transformer.h.0.attn.c_attn.weight`. */
  readonly name: string
  /**
   * Of a frozen part: the name without the part's own, under which a checkpoint of that part alone has it. Else the
   * name itself.
   */
  readonly plainName: string
  readonly shape: readonly number[]
  readonly init: Initializer
  /** False for what gradients leave alone: buffers such as running statistics, and frozen parts. */
  readonly trainable: boolean
  readonly tensor: Tensor
}

/** Everything that one trace of a model declares. */
class Declarations {
  readonly parameters = new Map<string, ParameterSpec>()
  readonly updates = new Map<string, Tensor>()
}

export interface ScopeOptions {
  /** Dropout drops and batch normalisation uses the batch's statistics. Default false. */
  readonly training?: boolean
  /** Compute the activations of every `block` again in the backward pass instead of keeping them. Default false. */
  readonly recompute?: boolean
  /** Where noise and dropout masks come from. Needed where there are any. */
  readonly random?: RandomStreams
  /**
   * Called for each parameter when it is first asked for. What it throws ends the trace: a configuration that lies about
   * its sizes is found out at the first parameter that the checkpoint does not have, and not after a billion layers.
   */
  readonly onDeclare?: (parameter: Pick<ParameterSpec, 'name' | 'shape'>) => void
}

/**
 * What stands in for a parameter: a tensor made of it, or undefined for the parameter as it is. `root` declares
 * parameters of the replacement's own, under whatever names.
 */
export type Replacement = (name: string, weight: Tensor, root: Scope) => Tensor | undefined

/**
 * What is added to what a linear layer answers, made of the layer's input; undefined for nothing.
 *
 * @param layer - its name in the part that adds: `model.layers.0.mlp.up_proj`
 * @param x - [..., inFeatures]
 */
export type Addition = (layer: string, x: Tensor, shape: LinearShape) => Tensor | undefined

export interface LinearShape {
  readonly inFeatures: number
  readonly outFeatures: number
  /** Whether the weight is kept as [in, out]. */
  readonly inFirst: boolean
}

/**
 * Told of a block that was run: the name of its part, and what came out.
 *
 * @param name - `transformer.h.0`
 */
export type BlockSeen = (name: string, output: Tensor) => void

/** What a scope was told about the part of the model that it stands for. */
interface Part {
  /** What stands before every name. */
  readonly prefix: string
  /** The prefix at which the part was frozen. */
  readonly frozenAt?: string
  readonly replace?: (name: string, weight: Tensor) => Tensor
  readonly seen?: BlockSeen
  readonly add?: (prefix: string, x: Tensor, y: Tensor, shape: LinearShape) => Tensor
}

/**
 * Where a model gets its parameters: by name, at the place where it uses them. Tracing the model once therefore also
 * tells which parameters it has; asking twice for a name gives the same tensor, which is how weights are tied.
 *
 * ```ts
 * const weight = scope.at('h', 0, 'attn').param('weight', [768, 2304])
 * ```
 */
export class Scope {
  private constructor(
    private readonly declarations: Declarations,
    private readonly options: ScopeOptions,
    private readonly part: Part,
  ) {}

  static root(options: ScopeOptions = {}): Scope {
    return new Scope(new Declarations(), options, { prefix: '' })
  }

  get training(): boolean {
    return this.options.training ?? false
  }

  /** The scope of a part: `scope.at('h', 0)` is `h.0`. */
  at(...path: readonly (string | number)[]): Scope {
    return this.with({ prefix: `${this.part.prefix}${path.join('.')}.` })
  }

  /**
   * The part as it is: in evaluation mode, its weights left alone, whatever the graph around it learns. Gradients pass
   * through it to its inputs. First values are found under the part's own names or under those of a checkpoint of the
   * part alone: `scope.at('reference').frozen()` reads the policy's file.
   */
  frozen(): Scope {
    const options = { ...this.options, training: false }
    return new Scope(this.declarations, options, { ...this.part, frozenAt: this.part.prefix })
  }

  /** The part with other tensors in place of parameters: W · g/‖W‖ of weight normalisation. */
  replacing(replacement: Replacement): Scope {
    const root = new Scope(this.declarations, this.options, { prefix: '' })
    const before = this.part.replace
    const made = new Map<string, Tensor>()
    const replace = (name: string, weight: Tensor): Tensor => {
      const known = made.get(name)
      if (known) return known
      const given = before ? before(name, weight) : weight
      const result = replacement(name, given, root) ?? given
      made.set(name, result)
      return result
    }
    return this.with({ replace })
  }

  /** The part with something added to what its linear layers answer: BAx of LoRA, beside a weight that is left alone. */
  adding(addition: Addition): Scope {
    const { prefix: own, add: before } = this.part
    return this.with({
      add(prefix, x, y, shape) {
        const given = before ? before(prefix, x, y, shape) : y
        const more = addition(prefix.slice(own.length, -1), x, shape)
        return more ? given.add(more) : given
      },
    })
  }

  /** What a linear layer of this name answers, with all that is added to it. */
  added(x: Tensor, y: Tensor, shape: LinearShape): Tensor {
    return this.part.add ? this.part.add(this.part.prefix, x, y, shape) : y
  }

  /** The part, with each of its blocks told as it is run: the states between the layers of a model. */
  watching(seen: BlockSeen): Scope {
    const { seen: before } = this.part
    return this.with({
      seen(name, output) {
        before?.(name, output)
        seen(name, output)
      },
    })
  }

  /** A tensor that training moves. */
  param(name: string, shape: readonly number[], init: Initializer = normal(0.02)): Tensor {
    const weight = this.declare(name, shape, init, this.part.frozenAt === undefined)
    return this.part.replace ? this.part.replace(this.part.prefix + name, weight) : weight
  }

  /** A tensor that is saved with the model and that gradients leave alone. */
  buffer(name: string, shape: readonly number[], init: Initializer): Tensor {
    return this.declare(name, shape, init, false)
  }

  /** The buffer's value after this step. */
  updateBuffer(name: string, value: Tensor): void {
    this.declarations.updates.set(this.part.prefix + name, value)
  }

  private declare(name: string, shape: readonly number[], init: Initializer, trainable: boolean): Tensor {
    const { prefix, frozenAt = '' } = this.part
    const full = prefix + name
    const known = this.declarations.parameters.get(full)
    if (known) {
      if (`${known.shape}` !== `${shape}`) {
        throw new RangeError(
          `parameter ${full} is ${showShape(known.shape)} in one place and ${showShape(shape)} in another`,
        )
      }
      return known.tensor
    }
    if (!isStatic(shape)) throw new RangeError(`parameter ${full} needs a static shape, got ${showShape(shape)}`)
    this.options.onDeclare?.({ name: full, shape })
    const tensor = input(full, shape)
    const plainName = full.slice(frozenAt.length)
    this.declarations.parameters.set(full, { name: full, plainName, shape, init, trainable, tensor })
    return tensor
  }

  private with(change: Partial<Part>): Scope {
    return new Scope(this.declarations, this.options, { ...this.part, ...change })
  }

  /** Zeroes elements with probability `rate` while training, and scales up the rest (Srivastava et al., 2014). */
  dropout(x: Tensor, rate: number): Tensor {
    return this.training && rate > 0 ? x.mul(this.randomFor('dropout').dropoutMask(x, rate)) : x
  }

  /** Noise with mean 0 and variance 1, of a shape or in the shape of a tensor: DDPM's ε. In evaluation, too. */
  normal(like: Tensor | Shape): Tensor {
    return this.randomFor('noise').normal(like instanceof Tensor ? like.shape : like)
  }

  /** Noise that is even over [0, 1), of a shape or in the shape of a tensor. */
  uniform(like: Tensor | Shape): Tensor {
    return this.randomFor('noise').uniform(like instanceof Tensor ? like.shape : like)
  }

  private randomFor(what: string): RandomStreams {
    const { random } = this.options
    if (!random) throw new Error(`${what} needs a source of random numbers: trace the function, or give the scope one`)
    return random
  }

  /**
   * Runs a block of a model. Where training asks for it (`recompute`), the block's activations are computed again in the
   * backward pass instead of being kept.
   *
   * @param block - a block's function, such as `llamaBlock`
   * @param part - the block's scope
   * @param x - what goes through the blocks; the rest of the arguments is handed on
   */
  block<Rest extends readonly unknown[]>(
    block: (scope: Scope, x: Tensor, ...rest: Rest) => Tensor,
    part: Scope,
    x: Tensor,
    ...rest: Rest
  ): Tensor {
    const output = this.options.recompute && this.training ? this.again(block, part, x, rest) : block(part, x, ...rest)
    this.part.seen?.(part.part.prefix.slice(0, -1), output)
    return output
  }

  private again<Rest extends readonly unknown[]>(
    block: (scope: Scope, x: Tensor, ...rest: Rest) => Tensor,
    part: Scope,
    x: Tensor,
    rest: Rest,
  ): Tensor {
    const { random } = this.options
    const start = random?.mark() ?? 0
    const again = (y: Tensor): Tensor => {
      const end = random?.mark() ?? 0
      random?.rewind(start)
      const z = block(part, y, ...rest)
      if (end > (random?.mark() ?? 0)) random?.rewind(end)
      return z
    }
    return recompute(again, x)
  }

  /** Every parameter and buffer declared so far, in order of first use. */
  get parameters(): ReadonlyMap<string, ParameterSpec> {
    return this.declarations.parameters
  }

  /** New values of buffers, by name. */
  get updates(): ReadonlyMap<string, Tensor> {
    return this.declarations.updates
  }
}
