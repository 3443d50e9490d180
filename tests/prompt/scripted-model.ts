import type { Score, ScoringRequest } from '../../src/eval/log-likelihoods.ts'
import type { LanguageModel, TextRequest, TextScore, WriteOptions } from '../../src/prompt/language-model.ts'

/** A language model that says what it is told to, and remembers what it was asked. */
export class ScriptedModel implements LanguageModel {
  readonly name = 'scripted'
  readonly kind = 'causal'
  readonly contextLength = 8
  readonly asked: TextRequest[] = []
  readonly prompts: string[] = []
  readonly options: WriteOptions[] = []

  constructor(
    private readonly script: {
      score?: (request: TextRequest) => Partial<TextScore>
      write?: (prompt: string, index: number) => string
    },
  ) {}

  async logLikelihoods(requests: readonly TextRequest[]): Promise<TextScore[]> {
    this.asked.push(...requests)
    return requests.map((request) => ({ logProb: 0, tokens: 1, isGreedy: false, ...this.script.score?.(request) }))
  }

  /** A token a character. */
  encode(text: string): number[] {
    return Array.from(text, (character) => character.charCodeAt(0))
  }

  /** Every token has the probability 1/2. */
  async scoreIds(requests: readonly ScoringRequest[]): Promise<Score[]> {
    return requests.map(({ continuationIds }) => {
      const perToken = continuationIds.map(() => -Math.LN2)
      return { perToken, logProb: -Math.LN2 * perToken.length, isGreedy: false }
    })
  }

  async generate(prompts: readonly string[], options: WriteOptions = {}): Promise<string[]> {
    this.prompts.push(...prompts)
    this.options.push(options)
    return prompts.map((prompt, i) => this.script.write?.(prompt, i) ?? '')
  }
}
