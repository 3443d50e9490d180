import { type FieldCodec, listOf, oneOf, readField, size } from './config.ts'

/** Layers whose positions see only the last few, by themselves (Beltagy et al., 2020, arXiv 2004.05150) or in turn. */

/** In the checkpoint's words. */
export const layerType = oneOf('full_attention', 'sliding_attention')
export type LayerType = 'full_attention' | 'sliding_attention'

/** Positions that each sees, itself included; 0, which files write as null, is no limit. */
export const windowField = (initial: number): FieldCodec<number, object> => ({
  default: initial,
  read: (json) => (json.sliding_window === null ? 0 : readField(json, 'sliding_window', size)),
  write: (window) => ({ sliding_window: window === 0 ? null : window }),
})

/** The same for a model that has a switch for it, and no window where it is off. */
export const switchedWindowField = (initial: number): FieldCodec<number, { useSlidingWindow: boolean }> => {
  const { read, write } = windowField(initial)
  return {
    default: (c) => (c.useSlidingWindow ? initial : 0),
    read: (json, c) => (c.useSlidingWindow ? read(json, c) : 0),
    write,
  }
}

/** A file may claim any number of layers; of more than these no list is made. */
const MOST_LAYERS = 10_000

/** Which layers have the window. */
export interface Windows {
  readonly nLayers: number
  readonly slidingWindow: number
  readonly layerTypes: readonly LayerType[]
}

/** @param initial - the kind of layer i of a file that does not list them */
export const layerTypesField = <C extends { nLayers: number }>(
  initial: (c: C, i: number) => LayerType,
): FieldCodec<readonly LayerType[], C> => ({
  type: listOf(layerType),
  default: (c) => Array.from({ length: c.nLayers > MOST_LAYERS ? 0 : c.nLayers }, (_, i) => initial(c, i)),
  read: (json) => readField(json, 'layer_types', listOf(layerType)),
  write: (layerTypes) => ({ layer_types: layerTypes }),
})

/** The window of layer i; 0 is none. */
export const windowOf = (c: Windows, i: number): number =>
  c.layerTypes[i] === 'sliding_attention' ? c.slidingWindow : 0

/** What is wrong with them, if anything: for `check` of a configuration. */
export function checkWindows(c: Windows): string | undefined {
  if (c.nLayers > MOST_LAYERS) return `num_hidden_layers: ${c.nLayers} are more than ${MOST_LAYERS}`
  if (c.layerTypes.length !== c.nLayers) return `layer_types: names ${c.layerTypes.length} of ${c.nLayers} layers`
  const lacksWindow = c.slidingWindow === 0 && c.layerTypes.includes('sliding_attention')
  return lacksWindow ? 'layer_types: has sliding_attention, and no sliding_window is in use' : undefined
}
