import type { PromptEvent, ServedModel, TokenEvent, TokenLogProb } from '../generate/types.ts'

/** JSON has no infinity; OpenAI writes this for a token that could not come. */
const impossible = -9999

const finite = (logProb: number | undefined): number => {
  if (logProb === undefined) throw new Error('internal: the engine gave no log-probability')
  return Math.max(logProb, impossible)
}

export interface ChatTokenLogProb {
  token: string
  logprob: number
  bytes: number[] | null
}

/** UTF-8 of the token; null where it is only a part of a character. */
function bytesOf(text: string): number[] | null {
  return text.includes('\ufffd') ? null : [...Buffer.from(text)]
}

const entry = ({ text, logProb }: Pick<TokenLogProb, 'text' | 'logProb'>): ChatTokenLogProb => ({
  token: text,
  logprob: finite(logProb),
  bytes: bytesOf(text),
})

const ownText = (model: ServedModel, event: TokenEvent | PromptEvent): string =>
  event.topLogProbs?.find(({ id }) => id === event.id)?.text ?? model.decode([event.id])

/** Log-probabilities as chats report them. */
export class ChatLogProbs {
  readonly all: (ChatTokenLogProb & { top_logprobs: ChatTokenLogProb[] })[] = []
  private readonly model: ServedModel

  constructor(model: ServedModel) {
    this.model = model
  }

  add(event: TokenEvent) {
    const token = {
      ...entry({ text: ownText(this.model, event), logProb: finite(event.logProb) }),
      top_logprobs: (event.topLogProbs ?? []).map(entry),
    }
    this.all.push(token)
    return token
  }
}

export interface CompletionLogProbsBody {
  tokens: string[]
  /** Null for the first token of an echoed prompt: nothing comes before it. */
  token_logprobs: (number | null)[]
  top_logprobs: (Record<string, number> | null)[]
  /** Where each token's text begins in the choice's, in UTF-16 units. */
  text_offset: number[]
}

/** Log-probabilities as completions report them. */
export class CompletionLogProbs {
  readonly all: CompletionLogProbsBody = { tokens: [], token_logprobs: [], top_logprobs: [], text_offset: [] }
  private readonly model: ServedModel

  constructor(model: ServedModel) {
    this.model = model
  }

  /** @returns the same for this token alone. */
  add(event: TokenEvent | PromptEvent, offset: number): CompletionLogProbsBody {
    const isFirst = event.type === 'prompt' && event.logProb === undefined
    const top = (event.topLogProbs ?? []).map(({ text, logProb }) => [text, finite(logProb)])
    const token: CompletionLogProbsBody = {
      tokens: [ownText(this.model, event)],
      token_logprobs: [isFirst ? null : finite(event.logProb)],
      top_logprobs: [isFirst ? null : Object.fromEntries(top)],
      text_offset: [offset],
    }
    this.all.tokens.push(...token.tokens)
    this.all.token_logprobs.push(...token.token_logprobs)
    this.all.top_logprobs.push(...token.top_logprobs)
    this.all.text_offset.push(...token.text_offset)
    return token
  }
}
