import { bytesToSpelling, GPT2_WORDS } from './byte-level.ts'
import { splitText, toPattern } from './patterns.ts'
import type { MetaspaceJson, PreTokenizerJson } from './tokenizer-json.ts'
import { punctuationClass } from './unicode.ts'

export interface PreTokenizer {
  /** Cuts a normalised text into words. `atStart`: the text begins the input. */
  split(text: string, atStart: boolean): string[]
  /** How a word is spelled in the vocabulary. Apart from `split`, so that it is done once for a word met many times. */
  spell(word: string): string
}

const asIs = (word: string): string => word

const punctuation = new RegExp(`[${punctuationClass}]`, 'gu')
const bertWords = new RegExp(`[${punctuationClass}]|[^\\p{White_Space}${punctuationClass}]+`, 'gu')

export function makePreTokenizer(json: PreTokenizerJson): PreTokenizer {
  switch (json.type) {
    case 'BertPreTokenizer':
      return { split: (text) => text.match(bertWords) ?? [], spell: asIs }
    case 'Whitespace': {
      const word = '\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\p{Join_Control}'
      const words = new RegExp(`[${word}]+|[^${word}\\p{White_Space}]+`, 'gu')
      return { split: (text) => text.match(words) ?? [], spell: asIs }
    }
    case 'WhitespaceSplit':
      return { split: (text) => text.match(/\P{White_Space}+/gu) ?? [], spell: asIs }
    case 'ByteLevel':
      return {
        split: (text) => {
          const prefixed = json.add_prefix_space && !text.startsWith(' ') ? ` ${text}` : text
          return json.use_regex ? splitText(prefixed, GPT2_WORDS, 'Isolated') : [prefixed]
        },
        spell: bytesToSpelling,
      }
    case 'Metaspace':
      return metaspace(json)
    case 'Split': {
      const pattern = toPattern(json.pattern)
      return { split: (text) => splitText(text, pattern, json.behavior, json.invert), spell: asIs }
    }
    case 'Punctuation':
      return { split: (text) => splitText(text, punctuation, json.behavior), spell: asIs }
    case 'Digits': {
      const behavior = json.individual_digits ? 'Isolated' : 'Contiguous'
      return { split: (text) => splitText(text, /\p{N}/gu, behavior), spell: asIs }
    }
    case 'CharDelimiterSplit':
      return { split: (text) => text.split(json.delimiter).filter((word) => word !== ''), spell: asIs }
    case 'FixedLength':
      return {
        split: (text) => {
          const characters = Array.from(text)
          return Array.from({ length: Math.ceil(characters.length / json.length) }, (_, i) =>
            characters.slice(i * json.length, (i + 1) * json.length).join(''),
          )
        },
        spell: asIs,
      }
    case 'Sequence':
      return sequence(json.pretokenizers.map(makePreTokenizer))
  }
}

/** The scheme by which a space goes before the text; files of older versions say it by `add_prefix_space`. */
export const prependScheme = (json: MetaspaceJson): 'always' | 'first' | 'never' =>
  json.add_prefix_space === false ? 'never' : (json.prepend_scheme ?? 'always')

function metaspace(json: MetaspaceJson): PreTokenizer {
  const { replacement, split } = json
  const scheme = prependScheme(json)
  const words = new RegExp(replacement.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&'), 'gu')
  return {
    split: (text, atStart) => {
      let spaced = text.replaceAll(' ', replacement)
      const prepends = scheme === 'always' || (scheme === 'first' && atStart)
      if (prepends && !spaced.startsWith(replacement)) spaced = replacement + spaced
      return split ? splitText(spaced, words, 'MergedWithNext') : [spaced]
    },
    spell: asIs,
  }
}

function sequence(steps: PreTokenizer[]): PreTokenizer {
  const last = steps.at(-1)
  if (!last) return { split: (text) => [text], spell: asIs }
  return {
    split: (text, atStart) => {
      let words = [text]
      steps.forEach((step, i) => {
        const pieces: string[] = []
        words.forEach((word, j) => {
          for (const piece of step.split(word, atStart && j === 0))
            pieces.push(step === last ? piece : step.spell(piece))
        })
        words = i === 0 || pieces.length > 0 ? pieces : []
      })
      return words
    },
    spell: last.spell,
  }
}
