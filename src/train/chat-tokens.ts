import { JACKDAW_CHAT_TEMPLATE, type Message, toWireMessage } from '../data/instruction/conversation.ts'
import { renderChat } from '../text/chat-template.ts'
import type { Tokenizer } from '../text/tokenizer.ts'

/** Conversations as the tokens of a prompt and of an answer, for all that learns from answers. */

/** What the assistant is asked, up to where its answer begins: in the model's chat template, or in jackdaw's own. */
export function promptTokens(tokenizer: Tokenizer, messages: readonly Message[]): number[] {
  const { chatTemplate = JACKDAW_CHAT_TEMPLATE, bosTokenId, eosTokenId } = tokenizer
  const nameOf = (id: number | undefined) => (id === undefined ? undefined : tokenizer.tokenOf(id))
  const text = renderChat(chatTemplate, messages.map(toWireMessage), {
    addGenerationPrompt: true,
    bosToken: nameOf(bosTokenId),
    eosToken: nameOf(eosTokenId),
  })
  return tokenizer.encode(text, { addSpecialTokens: false })
}

/** An answer with the token that ends it. */
export const answerTokens = (tokenizer: Tokenizer, answer: string): number[] => [
  ...tokenizer.encode(answer, { addSpecialTokens: false }),
  endOfAnswer(tokenizer),
]

/**
 * The token that ends an answer: ChatML's where the vocabulary has it, else that of a text.
 *
 * @throws Error where there is neither
 */
export function endOfAnswer({ idOf, eosTokenId }: Pick<Tokenizer, 'idOf' | 'eosTokenId'>): number {
  const end = idOf('<|im_end|>') ?? eosTokenId
  if (end === undefined)
    throw new Error('the tokenizer has no token that ends an answer: neither <|im_end|> nor an eos_token')
  return end
}

/** What an answer says: its text without the token that ends it. */
export const answerText = (tokenizer: Tokenizer, ids: readonly number[]): string =>
  tokenizer.decode(ids, { skipSpecialTokens: true }).trim()
