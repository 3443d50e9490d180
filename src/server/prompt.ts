import type { ChatMessage, ServedModel } from '../generate/types.ts'
import { badRequest } from './errors.ts'

/**
 * The token ids of a conversation, ready for the model to go on.
 *
 * A model that was only pre-trained knows no turns. It gets the text of the user's last message as it stands, and of an
 * answer that already follows it, and continues that; system messages and earlier turns are left out, because to it
 * they would be one more paragraph of the same text.
 */
export function chatPrompt(model: ServedModel, messages: readonly ChatMessage[]): number[] {
  if (!model.canChat) {
    const last = messages.findLastIndex((message) => message.role === 'user')
    if (last < 0) throw badRequest(`${model.id} only continues text, and there is no message of the user.`, 'messages')
    return model.encode(
      messages
        .slice(last)
        .map((message) => message.content)
        .join(''),
    )
  }
  try {
    return model.renderChat(messages)
  } catch (error) {
    // Templates refuse what their model was not trained on, such as two turns of the same side.
    throw badRequest(
      `The chat template of ${model.id} does not take these messages: ${error instanceof Error ? error.message : error}`,
      'messages',
    )
  }
}

/**
 * How many tokens may follow the prompt: what is asked, or as many as the context still holds where that is fewer.
 *
 * @throws RequestError where the prompt leaves no room, or is empty.
 */
export function roomFor(model: ServedModel, promptTokens: number, wanted: number | undefined, param: string): number {
  if (promptTokens === 0) throw badRequest('The prompt has no tokens.', param, 'invalid_value')
  const room = model.contextLength - promptTokens
  if (room < 1) {
    throw badRequest(
      `The context of ${model.id} is ${model.contextLength} tokens, and the prompt alone has ${promptTokens}; shorten it.`,
      param,
      'context_length_exceeded',
    )
  }
  return Math.min(room, wanted ?? room)
}
