import { z } from 'zod'
import {
  Dictionary,
  kindOf,
  kindsOf,
  oppositeOf,
  type Sense,
  shortDefinition,
  synonymsOf,
} from '../../data/sources/dictionary.ts'
import type { LocalTool } from '../toolset.ts'

const WANTS = ['meaning', 'synonyms', 'opposite', 'kind', 'kinds'] as const
type Want = (typeof WANTS)[number]

const Arguments = z.object({ word: z.string().min(1).max(60), want: z.enum(WANTS).default('meaning') })

let wordnet: Dictionary | undefined

const ANSWERS: Readonly<Record<Want, (wordnet: Dictionary, senses: readonly Sense[]) => string | undefined>> = {
  meaning: (_, [sense]) => {
    return `${sense.lemma}, ${/^[aeiou]/.test(sense.partOfSpeech) ? 'an' : 'a'} ${sense.partOfSpeech}: ${shortDefinition(sense.synset)}`
  },
  synonyms: (_, senses) => synonymsOf(senses).join(', '),
  opposite: oppositeOf,
  kind: kindOf,
  kinds: (wordnet, senses) => kindsOf(wordnet, senses).join(', '),
}

/** What a word means and what stands near it, from WordNet. */
export const dictionary: LocalTool = {
  spec: {
    name: 'dictionary',
    description:
      'Looks up an English word: its meaning, its synonyms, its opposite, what it is a kind of, and kinds of it.',
    parameters: {
      type: 'object',
      properties: {
        word: { type: 'string', description: 'an English word' },
        want: { type: 'string', enum: [...WANTS] },
      },
      required: ['word', 'want'],
      additionalProperties: false,
    },
  },
  run(args) {
    const { data } = Arguments.safeParse(args)
    if (!data) return `dictionary needs "word" and "want", one of ${WANTS.join(', ')}`
    const { word, want } = data
    wordnet ??= new Dictionary()
    const senses = wordnet.senses(word)
    if (senses.length === 0) return `no entry for ${word}`
    return ANSWERS[want](wordnet, senses) || `no ${want} of ${word}`
  },
}
