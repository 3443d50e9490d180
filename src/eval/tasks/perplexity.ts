import { sum } from '../statistics.ts'
import { type Task, together } from '../task.ts'

/** A window of the text: the log-likelihood of its tokens, and how much text they stand for. */
interface Window {
  readonly logProb: number
  readonly tokens: number
  readonly bytes: number
  readonly words: number
}

const perUnit = (windows: readonly Window[], unit: 'tokens' | 'bytes' | 'words'): number =>
  -sum(windows.map(({ logProb }) => logProb)) / sum(windows.map((window) => window[unit]))

const lower = { higherIsBetter: false }

/** How well a model predicts a text: windows that touch, every token but the first predicted once. */
export const perplexity: Task = {
  name: 'perplexity',
  about: 'how well a text of yours is predicted',
  version: 1,
  fileForm: 'any text',
  open({ path, text }, { seq, numFewshot }, { model }) {
    if (model.kind !== 'causal') throw new Error(`${model.name} does not continue text, so it has no perplexity`)
    if (numFewshot) throw new Error('perplexity takes no demonstrations: leave --num-fewshot out')
    const ids = model.encode(text)
    if (ids.length < 2) throw new Error(`${path}: has ${ids.length} tokens; perplexity needs two or more`)
    const length = Math.min(seq ?? model.contextLength, model.contextLength)
    const predicted = ids.length - 1
    // A window's share of the text is that of its tokens: bytes and words are counted as a whole.
    const [bytes, words] = [Buffer.byteLength(text), text.split(/\s+/).length]
    return {
      size: Math.ceil(predicted / length),
      ...{ outputType: 'loglikelihood_rolling', numFewshot: 0, config: { seq: length } },
      metrics: [
        together<Window>('perplexity', (windows) => Math.exp(perUnit(windows, 'tokens')), lower),
        together<Window>('word_perplexity', (windows) => Math.exp(perUnit(windows, 'words')), lower),
        together<Window>('byte_perplexity', (windows) => Math.exp(perUnit(windows, 'bytes')), lower),
        together<Window>('bits_per_byte', (windows) => perUnit(windows, 'bytes') / Math.LN2, lower),
      ],
      async ask(scorer, items, work) {
        const windows = items.map((item) => ids.slice(item * length, Math.min((item + 1) * length, predicted) + 1))
        const scores = await scorer.scoreIds(
          windows.map(([first, ...rest]) => ({ contextIds: [first], continuationIds: rest })),
          work,
        )
        return scores.map(({ logProb, perToken: { length: tokens } }, i) => {
          const part = tokens / predicted
          const window: Window = { logProb, tokens, bytes: bytes * part, words: words * part }
          const names = ['perplexity', 'word_perplexity', 'byte_perplexity', 'bits_per_byte']
          return {
            ...{ doc_id: items[i], doc: { window: items[i], tokens }, target: '', arguments: [], resps: [logProb] },
            filtered_resps: [logProb],
            scores: Object.fromEntries(names.map((name) => [`${name},none`, window])),
          }
        })
      },
    }
  },
}
