import { type Dim, type DType, input, symbol, type Tensor } from '../tensor/index.ts'

export type NamedShape = readonly (number | string)[]

/** What a function reads: a dtype, and a shape whose named dimensions may differ from run to run. */
export interface InputSpec {
  readonly dtype: DType
  readonly shape: NamedShape
  /** May be left out. Default false. */
  readonly optional?: boolean
  /** May be left out where that other input is given. */
  readonly unless?: string
}

export const float32 = (...shape: NamedShape): InputSpec => ({ dtype: 'float32', shape })
export const int32 = (...shape: NamedShape): InputSpec => ({ dtype: 'int32', shape })
/** An input that may be left out. */
export const optional = (spec: InputSpec): InputSpec => ({ ...spec, optional: true })

export type InputSpecs = Readonly<Record<string, InputSpec>>

/** Named tensors; what is optional may be undefined. */
export type Tensors = Readonly<Record<string, Tensor | undefined>>

/** The inputs that must be given, as leaves of a graph. */
export const leavesOf = (inputs: InputSpecs): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(inputs).flatMap(([name, { shape, dtype, optional }]) =>
      optional
        ? []
        : [
            [
              name,
              input(
                name,
                shape.map((dim): Dim => (typeof dim === 'string' ? symbol(dim) : dim)),
                dtype,
              ),
            ],
          ],
    ),
  )
