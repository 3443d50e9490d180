/** How people ask: templates with slots, of which every fifth is held out, typed with more or less care. */

import { type Draw, pick, type Split, stableHash } from './turn.ts'

/**
 * Templates of one way of asking. `{word}` is a slot, `(a|b)` one of several wordings. What ends in `?` is a question, what
 * ends in `!` is called out, all else is a request or a keyword.
 */
export type Phrasings = Readonly<Record<Split, readonly string[]>>

const HELD_OUT_EVERY = 5

/** The part of a template is drawn by its rank among the hashes of all, so that each set has some of both. */
export function phrasings(templates: readonly string[]): Phrasings {
  const ranked = [...templates].sort((a, b) => stableHash(a) - stableHash(b) || (a < b ? -1 : 1))
  const heldOut = new Set(ranked.slice(0, Math.max(1, Math.round(templates.length / HELD_OUT_EVERY))))
  return {
    train: templates.filter((template) => !heldOut.has(template)),
    heldOut: templates.filter((template) => heldOut.has(template)),
  }
}

const BEFORE_QUESTION = ['hello, ', 'hi, ', 'please tell me: ', 'quick question: ', 'excuse me, ', 'hey, ', 'so, ']

/**
 * A question as somebody types it.
 *
 * @param keep whether the slots are texts whose capitals matter
 */
export function ask(draw: Draw, from: Phrasings, slots: Readonly<Record<string, string>> = {}, keep = false): string {
  const { random, split } = draw
  const drawn = pick(random, from[split])
  // Few type the marks around a word.
  const template = random.uniform() < 0.75 ? drawn.replace(/"(\{\w+\})"/g, '$1') : drawn
  // A sentence begins with a capital, a word that is asked about does not.
  const startBig = (text: string): string =>
    template.startsWith('{') ? text : text.charAt(0).toUpperCase() + text.slice(1)
  const worded = template.replace(/\(([^()]*\|[^()]*)\)/g, (_, choices: string) => pick(random, choices.split('|')))
  const fill = (text: string): string => text.replace(/\{(\w+)\}/g, (_, slot: string) => slots[slot] ?? '')
  const isQuestion = worded.endsWith('?')
  const body = isQuestion ? worded.slice(0, -1).trimEnd() : worded
  const care = random.uniform()
  // With little care: no capitals, no mark at the end.
  if (care < 0.2) return keep ? fill(body) : fill(body).toLowerCase()
  if (care < 0.3) return keep ? fill(worded) : fill(worded).toLowerCase()
  const isOneSentence = !/[.:!\n]/.test(body)
  if (care < 0.42 && isOneSentence) {
    if (isQuestion) return startBig(fill(pick(random, BEFORE_QUESTION) + worded))
    if (
      /^(?:give|tell|write|put|make|name|list|spell|find|look|calculate|compute|work|count|sort|turn|show|define|explain|reverse|say|add|remove|replace|change|convert|correct|fix)\b/.test(
        body,
      )
    ) {
      return startBig(
        fill(
          pick(random, [
            'please BODY',
            'BODY please',
            'can you BODY?',
            'could you BODY?',
            'could you please BODY?',
          ]).replace('BODY', () => body),
        ),
      )
    }
  }
  const end = isQuestion ? '?' : worded.endsWith('!') || keep || !isOneSentence || random.below(2) === 0 ? '' : '.'
  const proper = body.replace(/([.?] )([a-z])/g, (_, stop: string, first: string) => stop + first.toUpperCase())
  return startBig(fill(proper)) + end
}
