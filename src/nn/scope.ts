import { checkpoint, input, isStatic, showShape, type Tensor } from '../tensor/index.ts'
import { type Initializer, normal } from './initializers.ts'

/** What the trace of a model learned about one of its parameters. */
export interface ParameterSpec {
  /** As in the official checkpoint: `transformer.h.0.attn.c_attn.weight`. */
  readonly name: string
  readonly shape: readonly number[]
  readonly init: Initializer
  /** False for buffers such as running statistics: kept with the model, not moved by gradients. */
  readonly trainable: boolean
  readonly tensor: Tensor
}

/** Hands out random numbers that a run is given from outside, so that it can be repeated. */
export interface RandomSource {
  /** 0 with probability `rate`, 1 / (1 − rate) otherwise, in the shape of `x`. */
  dropoutMask(x: Tensor, rate: number): Tensor
  mark(): number
  rewind(mark: number): void
}

/** Everything that one trace of a model declares. */
class Declarations {
  readonly parameters = new Map<string, ParameterSpec>()
  readonly updates = new Map<string, Tensor>()
}

export interface ScopeOptions {
  /** Dropout drops and batch normalisation uses the batch's statistics. Default false. */
  training?: boolean
  /** Needed where dropout drops. */
  random?: RandomSource
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
    private readonly prefix: string,
  ) {}

  static root(options: ScopeOptions = {}): Scope {
    return new Scope(new Declarations(), options, '')
  }

  get training(): boolean {
    return this.options.training ?? false
  }

  /** The scope of a part: `scope.at('h', 0)` is `h.0`. */
  at(...path: readonly (string | number)[]): Scope {
    return new Scope(this.declarations, this.options, `${this.prefix}${path.join('.')}.`)
  }

  /** A tensor that training moves. */
  param(name: string, shape: readonly number[], init: Initializer = normal(0.02)): Tensor {
    return this.declare(name, shape, init, true)
  }

  /** A tensor that is saved with the model and that gradients leave alone. */
  buffer(name: string, shape: readonly number[], init: Initializer): Tensor {
    return this.declare(name, shape, init, false)
  }

  /** The buffer's value after this step. */
  updateBuffer(name: string, value: Tensor): void {
    this.declarations.updates.set(this.prefix + name, value)
  }

  private declare(name: string, shape: readonly number[], init: Initializer, trainable: boolean): Tensor {
    const full = this.prefix + name
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
    const tensor = input(full, shape)
    this.declarations.parameters.set(full, { name: full, shape, init, trainable, tensor })
    return tensor
  }

  /** Zeroes elements with probability `rate` while training, and scales up the rest (Srivastava et al., 2014). */
  dropout(x: Tensor, rate: number): Tensor {
    if (!this.training || rate === 0) return x
    if (!this.options.random) throw new Error('dropout needs a source of random numbers: give the scope one')
    return x.mul(this.options.random.dropoutMask(x, rate))
  }

  /** Runs a block whose activations are computed again in the backward pass instead of being kept. */
  checkpoint(block: (...inputs: Tensor[]) => Tensor, ...inputs: Tensor[]): Tensor {
    const { random } = this.options
    const start = random?.mark() ?? 0
    const again = (...x: Tensor[]): Tensor => {
      const end = random?.mark() ?? 0
      random?.rewind(start)
      const y = block(...x)
      if (end > (random?.mark() ?? 0)) random?.rewind(end)
      return y
    }
    return checkpoint(again, ...inputs)
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
