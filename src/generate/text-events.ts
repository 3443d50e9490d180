import type { Tokenizer } from '../text/tokenizer.ts'
import type { Engine } from './engine.ts'
import type { EngineRequest } from './sequence.ts'
import { StopText } from './stop-text.ts'
import type { GenerationEvent, GenerationRequest, IdEvent, TokenEvent, TokenLogProb } from './types.ts'

/**
 * The engine's answer as text: whole characters, up to a stop string. The token that ended it is not told.
 *
 * @param request - with the ids that end a text of this model among its `stopTokenIds`
 */
export async function* textEvents(
  engine: Engine,
  tokenizer: Tokenizer,
  {
    stop = [],
    shownTokens = [],
    ...request
  }: Omit<EngineRequest, 'stopWhen'> & Pick<GenerationRequest, 'stop' | 'shownTokens'>,
): AsyncGenerator<GenerationEvent> {
  const ends = new Set(request.stopTokenIds)
  const promptText = tokenizer.stream({ skipSpecialTokens: true })
  const shownSpecialIds = new Set(shownTokens.map((token) => tokenizer.idOf(token)))
  const detokenizer = tokenizer.stream({ skipSpecialTokens: true, shownSpecialIds })
  const stopText = new StopText(stop)
  /** Of tokens that are chosen and not yet told. */
  const texts: string[] = []
  const stopWhen = (id: number): boolean => {
    texts.push(stopText.push(detokenizer.push(id)))
    return stopText.stopped
  }
  const withText = ({ topLogProbs, ...event }: IdEvent, text: string) => {
    const entry = (top: { id: number; logProb: number }): TokenLogProb => ({ ...top, text: tokenizer.decode([top.id]) })
    return { ...event, text, ...(topLogProbs && { topLogProbs: topLogProbs.map(entry) }) }
  }
  /** A token whose text may still grow by what was held back. */
  let pending: TokenEvent | undefined
  let newestId = -1
  let told = 0
  for await (const event of engine.generate({ ...request, stopWhen })) {
    if (event.type === 'end') {
      const rest = stopText.stopped ? '' : stopText.push(detokenizer.flush()) + stopText.flush()
      if (pending) yield { ...pending, text: pending.text + rest }
      else if (rest !== '') yield { type: 'token', id: newestId, text: rest }
      yield { ...event, completionTokens: told }
    } else if (event.type === 'prompt') yield { ...withText(event, promptText.push(event.id)), type: 'prompt' }
    else {
      if (ends.has(event.id)) continue
      if (pending) yield pending
      pending = { ...withText(event, texts.shift() as string), type: 'token' }
      newestId = event.id
      told++
      // Text that cannot change any more is told at once.
      if (pending.text === '' && stop.length > 0) continue
      yield pending
      pending = undefined
    }
  }
}
