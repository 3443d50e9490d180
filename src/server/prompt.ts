import type { ToolSpec } from '../data/instruction/conversation.ts'
import { type FittedConversation, fitConversation, textToContinue } from '../generate/fit-conversation.ts'
import type { ChatMessage, ServedModel, TemplateVariables } from '../generate/types.ts'
import { StoppedError } from '../load/text-process.ts'
import { badRequest, RequestError } from './errors.ts'

/**
 * The token ids of a conversation, ready for the model to go on.
 *
 * A model that was only pre-trained knows no turns. It gets the text of the user's last message as it stands, and of an
 * answer that already follows it, and continues that; system messages and earlier turns are left out, because to it
 * they would be one more paragraph of the same text.
 */
export const chatPrompt = (
  model: ServedModel,
  messages: readonly ChatMessage[],
  variables?: TemplateVariables,
  tools?: readonly ToolSpec[],
): Promise<number[]> =>
  taken(model, messages, () =>
    model.canChat ? model.renderChat(messages, variables, tools) : model.encode(textToContinue(messages)),
  )

/** The same without what is oldest in it, where it has outgrown the context. */
export const fittedPrompt = (
  model: ServedModel,
  messages: readonly ChatMessage[],
  wanted: number | undefined,
  variables?: TemplateVariables,
  tools?: readonly ToolSpec[],
): Promise<FittedConversation> =>
  taken(model, messages, () => fitConversation(model, messages, wanted, variables, tools))

async function taken<T>(
  model: ServedModel,
  messages: readonly ChatMessage[],
  render: () => T | Promise<T>,
): Promise<T> {
  if (!model.canChat || model.answerLength !== undefined) {
    if (!messages.some(({ role }) => role === 'user')) {
      const does = model.canChat ? 'answers one message of the user' : 'only continues text'
      throw badRequest(`${model.id} ${does}, and there is no message of the user.`, 'messages')
    }
    return within(model, render)
  }
  try {
    return await within(model, render)
  } catch (error) {
    if (error instanceof RequestError) throw error
    // Templates refuse what their model was not trained on, such as two turns of the same side.
    throw badRequest(
      `The chat template of ${model.id} does not take these messages: ${error instanceof Error ? error.message : error}`,
      'messages',
    )
  }
}

/** What a model's template or tokenizer made. @throws RequestError 500 with the one sentence where it was stopped. */
export async function within<T>(model: ServedModel, make: () => T | Promise<T>): Promise<T> {
  try {
    return await make()
  } catch (error) {
    if (error instanceof StoppedError) throw new RequestError(500, `${model.id} cannot answer: ${error.message}.`)
    throw error
  }
}

/**
 * How many tokens may follow the prompt: what is asked, or as many as there is room for where that is fewer.
 *
 * @param what - is to be shortened where it is too long
 * @throws RequestError where the prompt leaves no room, or is empty.
 */
export function roomFor(
  model: ServedModel,
  promptTokens: number,
  wanted: number | undefined,
  param: string,
  what = 'the prompt',
): number {
  if (promptTokens === 0) throw badRequest('The prompt has no tokens.', param, 'invalid_value')
  const left = model.contextLength - promptTokens
  const room = model.answerLength !== undefined && left >= 0 ? model.answerLength : left
  // A prompt that is only to be scored may fill the context.
  if (room < (wanted === 0 ? 0 : 1)) {
    throw badRequest(
      `The context of ${model.id} is ${model.contextLength} tokens, and ${what} alone has ${promptTokens}; shorten it.`,
      param,
      'context_length_exceeded',
    )
  }
  return Math.min(room, wanted ?? room)
}
