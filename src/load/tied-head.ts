import type { Checkpoint } from '../hub/checkpoint.ts'
import type { ModelClass } from '../nn/model.ts'
import { sizeOf } from '../tensor/index.ts'

/** Whether a head is the table of tokens: config.json says so, and what is stored decides. */

type Stored = Pick<Checkpoint, 'names' | 'info' | 'read'>

/**
 * What a checkpoint's head makes of its configuration. A head that is stored beside the table, and is another one, counts
 * for itself whatever the file says, as in the reference implementation; one that is the same is the table.
 *
 * @returns the settings, and the names of the parameters that count
 */
export function settleHead(
  config: Record<string, unknown>,
  checkpoint: Stored,
  { tiedHead, baseModelPrefix }: Pick<ModelClass, 'tiedHead' | 'baseModelPrefix'>,
): { config: Record<string, unknown>; names: ReadonlySet<string> } {
  const names = new Set(checkpoint.names())
  if (!tiedHead || config.tie_word_embeddings === false) return { config, names }
  const { head, table } = tiedHead
  const short = table.startsWith(baseModelPrefix) ? table.slice(baseModelPrefix.length) : table
  const stored = [table, short].find((name) => names.has(name))
  if (!names.has(head) || !stored) return { config, names }
  if (areEqual(checkpoint, head, stored)) {
    names.delete(head)
    return { config, names }
  }
  // T5 scales what a tied head reads, and goes on to.
  return { config: { scale_decoder_outputs: true, ...config, tie_word_embeddings: false }, names }
}

/** Numbers that are compared at a time. */
const PIECE = 1 << 20

function areEqual(checkpoint: Stored, a: string, b: string): boolean {
  const { shape } = checkpoint.info(a)
  if (`${shape}` !== `${checkpoint.info(b).shape}`) return false
  const [rows, width] = [shape[0], sizeOf(shape.slice(1))]
  const most = Math.max(1, Math.floor(PIECE / width))
  for (let row = 0; row < rows; row += most) {
    const count = Math.min(most, rows - row) * width
    const ours = checkpoint.read(a, new Float32Array(count), row)
    const theirs = checkpoint.read(b, new Float32Array(count), row)
    if (ours.some((value, i) => value !== theirs[i])) return false
  }
  return true
}
