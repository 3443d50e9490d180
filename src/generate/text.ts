import { loadServedModel, type ServedOptions } from './served.ts'
import type { ChatMessage, SamplingOptions, ServedModel } from './types.ts'

/** Text in, text out: the few lines that most programs need. */

/**
 * Loads a model that writes: a folder, `hf:owner/name[@revision]`, `gguf:FILE` or the name of a shipped one.
 *
 * ```ts
 * const model = await load('jackdaw-base')
 * for await (const piece of generate(model, 'The jackdaw is', { topP: 0.95 })) process.stdout.write(piece)
 * ```
 *
 * @throws Error with one sentence where there is no such model, or it is damaged or of an unknown kind
 */
export const load = (reference: string, options: ServedOptions = {}): Promise<ServedModel> =>
  loadServedModel(reference, options)

export interface TextOptions extends SamplingOptions {
  signal?: AbortSignal
}

/**
 * Continues a text, or answers a conversation where the model was taught to chat, piece by piece as it is decoded.
 * Nothing is drawn at `temperature: 0`; the default is 1.
 */
export async function* generate(
  model: ServedModel,
  prompt: string | readonly ChatMessage[],
  options: TextOptions = {},
): AsyncGenerator<string> {
  const promptIds = await (typeof prompt === 'string' ? model.encode(prompt) : model.renderChat(prompt))
  for await (const event of model.generate({ ...options, promptIds })) if (event.type === 'token') yield event.text
}
