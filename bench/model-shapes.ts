import { BERT_SIZES, Bert } from '../src/models/bert.ts'
import { GPT2, GPT2_SIZES } from '../src/models/gpt2.ts'
import { T5, T5_SIZES } from '../src/models/t5.ts'

/** Models of well-known sizes, without dropout. Peers are told the configuration, and build the same from it. */
export const SHAPED = {
  'bert-base': new Bert({ ...BERT_SIZES.base, head: 'masked-lm', hiddenDropout: 0, attentionDropout: 0 }),
  't5-small': new T5({ ...T5_SIZES.small, dropout: 0 }),
  'gpt2-124M': new GPT2({ ...GPT2_SIZES.small, embeddingDropout: 0, attentionDropout: 0, residualDropout: 0 }),
}

/** Tokens that a step reads, and that T5 writes. peers/transformers_model.py has the same numbers. */
export const STEP = { batch: 4, seq: 128, targetSeq: 64 }
