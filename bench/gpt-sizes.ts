/** The GPTs that are trained side by side. Dropout and biases are off, the head is tied, as in peers/gpt_train.py. */
export interface GptSize {
  readonly nLayers: number
  readonly nHeads: number
  readonly dModel: number
  readonly seq: number
  readonly batch: number
  readonly vocabSize: number
}

/** By the number of parameters. */
export const GPT_SIZES: Readonly<Record<string, GptSize>> = {
  '0.8M': { nLayers: 4, nHeads: 4, dModel: 128, seq: 64, batch: 12, vocabSize: 65 },
  '10.8M': { nLayers: 6, nHeads: 6, dModel: 384, seq: 256, batch: 4, vocabSize: 65 },
  '124M': { nLayers: 12, nHeads: 12, dModel: 768, seq: 256, batch: 2, vocabSize: 50304 },
}
