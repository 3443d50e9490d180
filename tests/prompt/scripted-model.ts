import type { LanguageModel, TextRequest, TextScore, WriteOptions } from '../../src/prompt/language-model.ts'

/** A language model that says what it is told to, and remembers what it was asked. */
export class ScriptedModel implements LanguageModel {
  readonly name = 'scripted'
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

  async generate(prompts: readonly string[], options: WriteOptions = {}): Promise<string[]> {
    this.prompts.push(...prompts)
    this.options.push(options)
    return prompts.map((prompt, i) => this.script.write?.(prompt, i) ?? '')
  }
}
