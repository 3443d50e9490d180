import { setImmediate } from 'node:timers/promises'
import type { LoadedModel } from '../load/load.ts'
import { TextProcess } from '../load/text-process.ts'
import { isPlainText } from '../text/plain.ts'
import type { EncodeOptions, Tokenizer } from '../text/tokenizer.ts'

/** Characters that are made into ids here, in a few hundredths of a second at most; longer texts elsewhere. */
const SHORT_TEXT = 1 << 15

/** A tokenizer that leaves others their turn: what may take long is done by a process of its own. */
export class FairTokenizer {
  readonly process: TextProcess
  /** Characters made into ids since others last had a turn on this thread. */
  private sinceTurn = 0

  constructor(
    readonly tokenizer: Tokenizer,
    { kind, path }: Pick<LoadedModel, 'kind' | 'path'>,
  ) {
    this.process = new TextProcess({ kind, path })
  }

  async encode(text: string, options?: EncodeOptions): Promise<number[]> {
    const { tokenizer } = this
    if (!tokenizer.isPlain || text.length > SHORT_TEXT || !isPlainText(text)) return this.process.encode(text, options)
    // Many short texts are as long as one, so others have their turn between them.
    this.sinceTurn += text.length
    if (this.sinceTurn > SHORT_TEXT) {
      await setImmediate()
      this.sinceTurn = text.length
    }
    return tokenizer.encode(text, options)
  }
}
