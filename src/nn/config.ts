import { z } from 'zod'

/**
 * The table of a configuration: each hyperparameter stands once, with our name, the checkpoint's name, its type and its
 * default. The TypeScript type, the defaults, the checks, and reading and writing config.json all come from it.
 *
 * ```ts
 * export const LlamaConfig = config('LLaMA', ['LlamaForCausalLM'], {
 *   dModel: ['hidden_size', size, 4096],
 *   nHeads: ['num_attention_heads', size, 32],
 *   headDim: ['head_dim', size, (c) => c.dModel / c.nHeads],
 * })
 * export type LlamaConfig = ConfigOf<typeof LlamaConfig>
 * ```
 */

/** Checks a value of config.json and gives it its TypeScript type. */
export type Type<T> = z.ZodType<T>

/** How many there are of something that must be there: 1, 2, 3, … */
export const size: Type<number> = z.int().positive()
/** 0, 1, 2, … */
export const count: Type<number> = z.int().nonnegative()
/** A whole number within limits. */
export const between = (least: number, most: number): Type<number> => z.int().min(least).max(most)
/** A place in a vocabulary. */
export const tokenId: Type<number> = count
/** A probability or a share: from 0 to 1. */
export const rate: Type<number> = z.number().min(0).max(1)
export const positive: Type<number> = z.number().positive()
export const number: Type<number> = z.number()
export const flag: Type<boolean> = z.boolean()
/** A word, short enough to be shown in a sentence about it. */
export const text: Type<string> = z.string().regex(/^\P{C}{0,100}$/u, 'must be a short word')
/** @param must - what is wrong with a text of another form: `must be …` */
export const textLike = (pattern: RegExp, must: string): Type<string> => z.string().regex(pattern, must)
/** One of a few words. */
export const oneOf = <const T extends string>(...words: readonly T[]): Type<T> => z.enum(words)
/** A switch that no model here has on. @param must - what is wrong with one that is: `must be …` */
export const off = (must: string): Type<false> => z.literal(false, must)
/** At least one value. */
export const listOf = <T>(type: Type<T>): Type<readonly T[]> => z.array(type).min(1)
/** Two values, one after the other. */
export const pair = <A, B>(a: Type<A>, b: Type<B>): Type<readonly [A, B]> => z.tuple([a, b])
/** A setting that may be missing. */
export const maybe = <T>(type: Type<T>): Type<T | undefined> => type.optional()
/** Of one type or another. */
export const either = <A, B>(a: Type<A>, b: Type<B>): Type<A | B> => z.union([a, b])

type Json = Readonly<Record<string, unknown>>

/** What a default may be: a value, or how it follows from other settings. The order of the table does not matter. */
type Default<T, C> = T | ((c: C) => T)

/** A setting that the file has under one name: [the checkpoint's name, type, default]. */
type NamedField<T, C> = readonly [name: string, type: Type<T>, initial: Default<NoInfer<T>, C>]

/** A setting that does not map one to one. */
export interface FieldCodec<T, C> {
  readonly type?: Type<T>
  readonly default: Default<T, C>
  /**
   * @param c - the other settings, as far as they do not depend on this one
   * @param stored - names of the checkpoint's parameters, where there is one
   * @returns the value, or undefined where the file does not say
   */
  read(json: Json, c: C, stored?: ReadonlySet<string>): T | undefined
  /** @returns what config.json says of it; undefined leaves a name out */
  write(value: T, c: C): Json
}

type Field<T, C> = NamedField<T, C> | FieldCodec<T, C>

export interface ConfigOptions<C> {
  /** `model_type` in config.json. Default: the name in small letters and digits, `gpt2` of GPT-2. */
  modelType?: string
  /** What the file says besides, whatever the settings. */
  constants?: Json
  /** The name among `architectures` of a model with these settings. Default: the first. */
  architecture?: (c: C) => string
  /** One sentence that starts with the checkpoint's name of a setting, where settings do not fit each other. */
  check?: (c: C) => string | undefined
}

export interface ConfigTable<C> {
  /** As messages call the model. */
  readonly name: string
  /** Values of `architectures`, or of `_class_name`, in the config.json of such models. */
  readonly architectures: readonly string[]
  /**
   * Settings, with defaults for what is left out.
   *
   * @throws RangeError with one sentence that names the first setting that does not fit
   */
  complete(partial?: Partial<C>): C
  /**
   * The settings that a config.json gives; null means left out.
   *
   * @param stored - names of the checkpoint's parameters, where there is one
   * @throws Error with one sentence that names the first field that does not fit
   */
  read(json: Json, stored?: ReadonlySet<string>): C
  /** The config.json of these settings. */
  write(c: C): Record<string, unknown>
  /** The table of a model that came after this one: the same settings but for those given. Checks are its own. */
  extend<D extends object>(
    name: string,
    architectures: readonly string[],
    fields: { readonly [K in keyof D]: Field<D[K], C & D> },
    options?: ConfigOptions<NoInfer<C & D>>,
  ): ConfigTable<C & D>
}

/** The type of a table's settings. */
export type ConfigOf<T> = T extends ConfigTable<infer C> ? C : never

/**
 * The table of a model in the layout of transformers.
 *
 * @param name - as messages call the model
 * @param architectures - values of `architectures` that mean this model
 */
export const config = <C extends object>(
  name: string,
  architectures: readonly string[],
  fields: { readonly [K in keyof C]: Field<C[K], C> },
  options: ConfigOptions<C> = {},
): ConfigTable<C> => {
  const { architecture = () => architectures[0], modelType = name.toLowerCase().replace(/[^a-z0-9]/g, '') } = options
  const header = (c: C) => ({ architectures: [architecture(c)], model_type: modelType })
  return table(name, architectures, fields, options, header)
}

/** The table of a model in the layout of diffusers, whose config.json has `_class_name`. */
export const diffusersConfig = <C extends object>(
  className: string,
  fields: { readonly [K in keyof C]: Field<C[K], C> },
  options: Pick<ConfigOptions<C>, 'constants' | 'check'> = {},
): ConfigTable<C> => table(className, [className], fields, options, () => ({ _class_name: className }))

/** A setting that the reference implementation does not know: written only where it is not the default. */
export const ownSetting = <T>(name: string, type: Type<T>, initial: NoInfer<T>): FieldCodec<T, object> => ({
  type,
  default: initial,
  read: (json) => readField(json, name, type),
  write: (value) => (value === initial ? {} : { [name]: value }),
})

/** What the model always does, whatever a file says: a choice of an earlier model that this one no longer has. */
export const always = <T>(value: T): FieldCodec<T, object> => ({
  default: value,
  read: () => value,
  write: () => ({}),
})

/** A setting whose null does not mean left out: it then follows from others. */
export const orFrom = <T, C>(
  name: string,
  type: Type<T>,
  initial: NoInfer<T>,
  whenNull: (c: C) => NoInfer<T>,
): FieldCodec<T, C> => ({
  type,
  default: initial,
  read: (json, c) => (json[name] === null ? whenNull(c) : readField(json, name, type)),
  write: (value) => ({ [name]: value }),
})

/** A setting whose null does not mean left out, but `word`: `"attention_head_dim": null`. */
export const nullMeans = <const W extends string, T>(
  word: W,
  name: string,
  type: Type<T>,
  initial: NoInfer<T>,
): FieldCodec<T | W, object> => ({
  default: initial,
  read: (json) => (json[name] === null ? word : readField(json, name, type)),
  write: (value) => ({ [name]: value === word ? null : value }),
})

/**
 * The token that fills sequences up, whose row of the table learns nothing from being looked up. A negative one counts
 * from the end of the vocabulary.
 */
export const paddingToken = (initial: number | 'none'): FieldCodec<number | 'none', object> =>
  nullMeans<'none', number | 'none'>('none', 'pad_token_id', between(-(2 ** 31), 2 ** 31 - 1), initial)

/** Token ids of which a file with one has the bare number: `eos_token_id`. */
export const tokenIds = (name: string, initial: readonly number[]): FieldCodec<readonly number[], object> => ({
  type: listOf(tokenId),
  default: initial,
  read(json) {
    const ids = readField(json, name, either(tokenId, listOf(tokenId)))
    return typeof ids === 'number' ? [ids] : ids
  },
  write: (ids) => ({ [name]: ids.length === 1 ? ids[0] : ids }),
})

/** Tokens that the file has as texts of one token each: `bad_words_ids` of Marian. */
export const singleTokens = (name: string): FieldCodec<readonly number[], object> => ({
  type: z.array(tokenId),
  default: [],
  read: (json) => readField(json, name, z.array(z.tuple([tokenId])))?.flat(),
  write: (ids) => (ids.length === 0 ? {} : { [name]: ids.map((id) => [id]) }),
})

/**
 * How many classes a classifier tells apart, 0 without one: the names of the classes in `id2label`, or `num_labels`.
 *
 * @param headless - the architecture that is the model without its classifier
 */
export const classes = (headless: string, initial: number): FieldCodec<number, object> => ({
  type: count,
  default: initial,
  read(json) {
    readField(json, 'problem_type', oneOf('single_label_classification'))
    const names = readField(json, 'architectures', z.array(z.string()))
    if (names?.includes(headless)) return 0
    const labels = readField(json, 'id2label', z.record(z.string(), z.string()))
    if (labels) return Object.keys(labels).length
    return readField(json, 'num_labels', count) ?? 2 // what the reference implementation takes for granted
  },
  write(value) {
    if (value === 0) return {}
    const labels = Array.from({ length: value }, (_, i) => [i, `LABEL_${i}`] as const)
    return { id2label: Object.fromEntries(labels), label2id: Object.fromEntries(labels.map(([i, name]) => [name, i])) }
  },
})

/** A value that does not fit: `hidden_size` and what is wrong with it. */
class Misfit extends Error {}

/**
 * One value of config.json, undefined where it is left out: for `read` of a `FieldCodec`.
 *
 * @throws an error that reading the table turns into its one sentence
 */
export const readField = <T>(json: Json, name: string, type: Type<T>): T | undefined => {
  const value = Object.hasOwn(json, name) ? json[name] : undefined
  return value === undefined || value === null ? undefined : fitting(name, type, value)
}

/** The same value, if it is of the type. */
function fitting<T>(name: string, type: Type<T>, value: unknown): T {
  const result = type.safeParse(value)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw new Misfit(`${[name, ...issue.path].join('.')}: ${issue.message}`)
}

function table<C extends object>(
  name: string,
  architectures: readonly string[],
  fields: { readonly [K in keyof C]: Field<C[K], C> },
  { constants, check }: ConfigOptions<C>,
  header: (c: C) => Json,
): ConfigTable<C> {
  const keys = Object.keys(fields) as (keyof C & string)[]

  /** Every setting as `given`, or else by its default: found when it is first asked for, and once. */
  function resolve(given: (key: keyof C & string, c: C) => unknown, nameOf: (key: keyof C & string) => string): C {
    const c = {} as C
    const pending = new Set<string>()
    const find = (key: keyof C & string): unknown => {
      if (pending.has(key)) throw new Error(`internal: ${name}: the default of ${key} depends on itself`)
      pending.add(key)
      const field = fields[key]
      const { type, initial } = parts(field)
      const value = given(key, c) ?? (isDerived<C>(initial) ? initial(c) : initial)
      return type ? fitting(nameOf(key), type, value) : value
    }
    for (const key of keys) {
      const get = () => {
        const value = find(key)
        Object.defineProperty(c, key, { value })
        return value
      }
      Object.defineProperty(c, key, { get, configurable: true })
    }
    const resolved = Object.fromEntries(keys.map((key) => [key, c[key]])) as C
    const sentence = check?.(resolved)
    if (sentence !== undefined) throw new Misfit(sentence)
    return resolved
  }

  return {
    name,
    architectures,
    extend: <D extends object>(
      laterName: string,
      laterArchitectures: readonly string[],
      changed: { readonly [K in keyof D]: Field<D[K], C & D> },
      options: ConfigOptions<NoInfer<C & D>> = {},
    ) => {
      const all = { ...fields, ...changed } as { readonly [K in keyof (C & D)]: Field<(C & D)[K], C & D> }
      return config<C & D>(laterName, laterArchitectures, all, options)
    },
    complete: (partial = {}) => {
      try {
        const ourName = (key: string) => key
        return resolve((key) => partial[key], ourName)
      } catch (error) {
        throw error instanceof Misfit ? new RangeError(`${name}: ${error.message}`) : error
      }
    },
    read: (json, stored) => {
      const given = (key: keyof C & string, c: C) => {
        const field = fields[key]
        return isNamed(field) ? readField(json, field[0], field[1]) : field.read(json, c, stored)
      }
      const nameOf = (key: keyof C & string) => parts(fields[key]).name ?? key
      try {
        return resolve(given, nameOf)
      } catch (error) {
        if (!(error instanceof Misfit)) throw error
        throw new Error(`config.json is not a ${name} configuration: ${error.message}`)
      }
    },
    write: (c) => {
      const written = keys.map((key) => {
        const field = fields[key]
        return isNamed(field) ? { [field[0]]: c[key] } : field.write(c[key], c)
      })
      const all = Object.assign({}, header(c), constants, ...written) as Record<string, unknown>
      return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined))
    },
  }
}

const isNamed = <T, C>(field: Field<T, C>): field is NamedField<T, C> => Array.isArray(field)

const isDerived = <C>(initial: unknown): initial is (c: C) => unknown => typeof initial === 'function'

const parts = <T, C>(field: Field<T, C>) =>
  isNamed(field)
    ? { name: field[0], type: field[1], initial: field[2] }
    : { name: undefined, type: field.type, initial: field.default }
