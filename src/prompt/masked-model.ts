import { logSumExp } from '../generate/sampling.ts'
import { type LoadedModel, loadModel } from '../load/load.ts'
import { int32, trace } from '../nn/trace.ts'
import { compile, type Program, type Weights } from '../runtime/compile.ts'
import { type Tensor, takeRows, tensorData } from '../tensor/index.ts'
import type { Tokenizer } from '../text/tokenizer.ts'
import type { MaskedLm } from './cloze.ts'
import type { WorkOptions } from './language-model.ts'

/** What masks are called by those who train with them. */
const MASKS = ['[MASK]', '<mask>']

/** A loaded model that says what a mask hides, for cloze prompts: BERT with its masked-language-model head. */
export class MaskedModel implements MaskedLm {
  private constructor(
    readonly mask: string,
    private readonly maskTokenId: number,
    private readonly tokenizer: Tokenizer,
    private readonly program: Program<{ logits: Tensor }>,
    private readonly maxPositions: number,
  ) {}

  /** @throws Error where the model has no such head, or its tokenizer no mask */
  static async create(
    name: string,
    { model, weights, tokenizer }: Pick<LoadedModel, 'model' | 'tokenizer'> & { weights: Weights },
  ): Promise<MaskedModel> {
    const mask = MASKS.find((text) => tokenizer?.idOf(text) !== undefined)
    if (!tokenizer || mask === undefined) throw new Error(`${name} has no tokenizer with a mask, so it fills no blanks`)
    const traced = trace(
      (scope, { inputIds, places }): { logits: Tensor } => {
        const outputs: Record<string, Tensor | undefined> = model.forward(scope, { inputIds })
        const logits = outputs.predictionLogits ?? outputs.logits
        if (logits?.rank !== 3) throw new Error(`${name} does not say what a mask hides: it has no masked-LM head`)
        return { logits: takeRows(logits, places) }
      },
      { inputIds: int32(1, 'seq'), places: int32('masks') },
      { name: 'filling blanks' },
    )
    const { maxPositions = Number.POSITIVE_INFINITY } = model as { maxPositions?: number }
    const program = await compile(traced, weights)
    return new MaskedModel(mask, tokenizer.idOf(mask) as number, tokenizer, program, maxPositions)
  }

  encodeAnswer(answer: string): number[] {
    return this.tokenizer.encode(answer, { addSpecialTokens: false })
  }

  async logProbsAtMasks(texts: readonly string[], { onProgress, signal }: WorkOptions = {}): Promise<Float32Array[][]> {
    const filled: Float32Array[][] = []
    for (const text of texts) {
      const ids = this.tokenizer.encode(text)
      if (ids.length > this.maxPositions) {
        throw new RangeError(`a text has ${ids.length} tokens; the model takes ${this.maxPositions}`)
      }
      const places = ids.flatMap((id, i) => (id === this.maskTokenId ? [i] : []))
      const { logits } = await this.program(
        { inputIds: tensorData('int32', [1, ids.length], ids), places: tensorData('int32', [places.length], places) },
        { signal },
      )
      const vocabSize = logits.shape[1]
      filled.push(
        places.map((_, i) => {
          const row = (logits.data as Float32Array).slice(i * vocabSize, (i + 1) * vocabSize)
          const normalizer = logSumExp(row)
          return row.map((logit) => logit - normalizer)
        }),
      )
      onProgress?.(filled.length, texts.length)
    }
    return filled
  }

  release(): void {
    this.program.release()
  }
}

/** Loads a model that fills blanks: a folder or `hf:owner/name[@revision]`. */
export async function openMaskedModel(reference: string): Promise<MaskedModel> {
  const loaded = await loadModel(reference, { mapped: true })
  return MaskedModel.create(reference, loaded).finally(loaded.releaseFiles)
}
