/** Meanings, synonyms, opposites and kinds of words, looked up in the dictionary. */

import { FORMAT_WORDS, type ListFormat, writeList } from '../formats.ts'
import { ask, type Phrasings, phrasings } from '../phrasing.ts'
import { callOf, type Draw, type Expected, type Kind, pick, pickEntity, styled, type Turn } from '../turn.ts'

export type Want = 'meaning' | 'synonyms' | 'opposite' | 'kind' | 'kinds'

const ASK: Readonly<Record<Want, Phrasings>> = {
  meaning: phrasings([
    'what does {word} mean?',
    'what does "{word}" mean?',
    'what does the word {word} mean?',
    'what is the meaning of {word}?',
    'what is the meaning of "{word}"?',
    'meaning of {word}',
    'define {word}',
    'define the word "{word}"',
    'give me a definition of {word}',
    'give me the meaning of {word}',
    'what is the definition of {word}?',
    'definition of {word}',
    '{word} meaning',
    '{word} definition',
    'explain the word {word}',
    'explain what {word} means',
    'tell me what {word} means',
    'tell me the meaning of "{word}"',
    "I (do not|don't) know the word {word}. what does it mean?",
    'what is meant by {word}?',
    'look up {word}',
    'look up the word {word}',
    'look up "{word}" in the dictionary',
    'how would you define {word}?',
    'what do people mean by {word}?',
    'I read the word {word}. (what is that|what does it mean)?',
    'do you know what {word} means?',
    'can you explain {word}?',
    "what's {word}?",
    'what does {word} stand for?',
  ]),
  synonyms: phrasings([
    'what is a synonym of {word}?',
    'what is another word for {word}?',
    'give me a synonym (of|for) {word}',
    'give me synonyms (of|for) "{word}"',
    'synonyms of {word}',
    'synonym for {word}',
    'find a word that means the same as {word}',
    'find synonyms for {word}',
    'which words mean the same as {word}?',
    'which word means the same as "{word}"?',
    'another word for {word}',
    'other words for {word}',
    'what else can I say (for|instead of) {word}?',
    'what can I write instead of "{word}"?',
    'tell me a synonym of {word}',
    'tell me other words for {word}',
    '{word} synonyms',
    'name a synonym of {word}',
    'list synonyms of {word}',
    'what are synonyms of {word}?',
    'is there another word for {word}?',
    'I need a different word for {word}',
    'what words are similar to {word}?',
    'look up synonyms of {word}',
  ]),
  opposite: phrasings([
    'what is the opposite of {word}?',
    'what is the opposite of "{word}"?',
    'opposite of {word}',
    'the opposite of {word}',
    'give me the opposite of {word}',
    'give me an antonym of {word}',
    'what is an antonym of {word}?',
    'antonym of {word}',
    'antonym for {word}',
    '{word} antonym',
    '{word} opposite',
    'tell me the opposite of "{word}"',
    'tell me an antonym for {word}',
    'which word is the opposite of {word}?',
    'which word means the opposite of {word}?',
    'what is the contrary of {word}?',
    'find the opposite of {word}',
    'find an antonym for the word {word}',
    'name the opposite of {word}',
    'if something is not {word}, what is it?',
    "what's the opposite of {word}?",
    'do you know the opposite of {word}?',
    'I need a word that means the opposite of {word}',
    'look up the opposite of {word}',
  ]),
  kind: phrasings([
    'what kind of thing is (a|the) {word}?',
    'what is {word} a kind of?',
    'what is {word} a type of?',
    'what sort of thing does {word} name?',
    'what is the general word for {word}?',
    'to which group does {word} belong?',
    'what group does {word} belong to?',
    'tell me what {word} is a kind of',
    'name what {word} is a kind of',
    '{word} is a kind of what?',
    '{word} is a type of what?',
    'what category is {word} in?',
    'what category does {word} belong to?',
    'give me a more general word for {word}',
    'give me the category of {word}',
    'which wider group does {word} belong to?',
    'a more general word for {word}',
    'what would you class {word} as?',
    'look up what {word} is a kind of',
  ]),
  kinds: phrasings([
    'what kinds of {word} are there?',
    'what types of {word} are there?',
    'give me kinds of {word}',
    'give me some examples of {word}',
    'name some kinds of {word}',
    'name a few types of {word}',
    'list kinds of {word}',
    'list some types of {word}',
    'kinds of {word}',
    'types of {word}',
    'examples of {word}',
    'which kinds of {word} do you know?',
    'which sorts of {word} exist?',
    'tell me some kinds of {word}',
    'tell me types of {word}',
    'what sorts of {word} are there?',
    'I want to know kinds of {word}',
    'look up kinds of {word}',
  ]),
}

/** Of words that sound dangerous, the meaning may be asked all the same. */
const GRAVE_WORDS = [
  'bomb',
  'poison',
  'steal',
  'weapon',
  'murder',
  'kill',
  'attack',
  'drug',
  'knife',
  'thief',
  'gun',
  'explosion',
]

const kindFor = (want: Want): Kind => (want === 'kinds' ? 'kind' : want)

const wordsFor = ({ world: { words } }: Draw, want: Want): readonly string[] =>
  ({
    meaning: words.defined,
    synonyms: words.withSynonyms,
    opposite: words.withOpposite,
    kind: words.withKind,
    kinds: words.withKinds,
  })[want]

export const wordFor = (draw: Draw, want: Want): string => pickEntity(draw, wordsFor(draw, want))

const plainMeaning = (result: string): { sentence: string; definition: string } => {
  const [, lemma, partOfSpeech, definition] = /^(.+), an? (\w+): (.+)$/.exec(result) ?? ['', '', 'word', result]
  return { sentence: `The ${partOfSpeech} ${lemma} means: ${definition}.`, definition }
}

/** Looks a word up and says what came of it. */
export function wordTurn(draw: Draw, kind: Kind, user: string, word: string, want: Want, format?: ListFormat): Turn {
  const call = callOf('dictionary', { word, want })
  const result = draw.world.call(call)
  const base = { user, call, result }
  if (result.startsWith('no ')) {
    const reference = `I found ${result}.`
    return {
      ...base,
      kind: 'unknown',
      answer: styled(draw, reference, 'No.', 'sorry'),
      expected: {
        ...{ behaviour: 'unknown', contains: [[result, 'do not know', 'found no', 'find no']], format: 'sentence' },
        ...{ reference, question: user },
      },
    }
  }
  const items = want === 'synonyms' || want === 'kinds' ? result.split(', ') : undefined
  const topic = { type: 'word', word, want, ...(items && items.length > 1 ? { items } : {}) } as const
  const finish = (
    reference: string,
    short: string,
    expected: Pick<Expected, 'contains' | 'format' | 'items'>,
  ): Turn => ({
    ...base,
    kind,
    answer: styled(draw, reference, short, expected.format === 'sentence' ? 'sentence' : 'block'),
    expected: { behaviour: 'answer', ...expected, reference, question: user },
    topic,
  })
  if (items && format) {
    const reference = writeList(items, format)
    return finish(reference, `${items.join(' ')}.`, { contains: items, format, items })
  }
  if (want === 'meaning') {
    const { sentence, definition } = plainMeaning(result)
    return finish(sentence, `${definition}.`, { contains: [definition], format: 'sentence' })
  }
  const sentence = {
    synonyms: items && items.length > 1 ? `Synonyms of ${word} are: ${result}.` : `A synonym of ${word} is ${result}.`,
    opposite: `The opposite of ${word} is ${result}.`,
    kind: `The word ${word} names a kind of ${result}.`,
    kinds: items && items.length > 1 ? `Kinds of ${word} are: ${result}.` : `A kind of ${word} is ${result}.`,
  }[want]
  return finish(sentence, `${result}.`, { contains: items ?? [result], format: 'sentence' })
}

const FORMATS = ['bullets', 'numbered', 'commas', 'json'] as const

/** A question about a word; lists are sometimes asked for in a format. */
export function askWord(draw: Draw, want: Want): Turn {
  const { random } = draw
  const isGrave = want === 'meaning' && draw.split === 'train' && random.uniform() < 0.03
  const word = isGrave ? pick(random, GRAVE_WORDS) : wordFor(draw, want)
  const asked = ask(draw, ASK[want], { word })
  if ((want !== 'synonyms' && want !== 'kinds') || random.uniform() > 0.2) {
    return wordTurn(draw, kindFor(want), asked, word, want)
  }
  const format = pick(random, FORMATS)
  const mark = /[?.]$/.exec(asked)?.[0] ?? ''
  const user = `${asked.slice(0, asked.length - mark.length)} ${pick(random, FORMAT_WORDS[format])}${mark}`
  return wordTurn(draw, kindFor(want), user, word, want, format)
}

const ONSETS = [
  'bl',
  'br',
  'cr',
  'd',
  'dr',
  'f',
  'fl',
  'g',
  'gl',
  'gr',
  'j',
  'k',
  'kr',
  'l',
  'm',
  'n',
  'pl',
  'pr',
  'qu',
  's',
  'sk',
  'sn',
  'sp',
  'tr',
  'v',
  'w',
  'z',
  'zw',
]
const VOWELS = ['a', 'e', 'i', 'o', 'u', 'oo', 'ee', 'y', 'ai']
const CODAS = [
  'b',
  'ck',
  'ff',
  'g',
  'ft',
  'x',
  'lk',
  'm',
  'nd',
  'ng',
  'p',
  'rt',
  'sk',
  'zz',
  'zle',
  'rp',
  'nt',
  'vel',
  'bin',
  'mo',
]

/** A word that there is not. */
export function madeUpWord({ world, random }: Draw): string {
  for (;;) {
    const syllables = 1 + random.below(2)
    let word = ''
    for (let i = 0; i <= syllables; i++)
      word += pick(random, ONSETS) + pick(random, VOWELS) + (random.below(2) === 0 ? '' : pick(random, CODAS))
    if (word.length <= 12 && world.dictionary.senses(word).length === 0) return word
  }
}

/** A question about a word that no dictionary has. */
export function askMadeUpWord(draw: Draw): Turn {
  const word = madeUpWord(draw)
  const want = pick(draw.random, ['meaning', 'meaning', 'synonyms', 'opposite', 'kind'] as const)
  return wordTurn(draw, 'unknown', ask(draw, ASK[want], { word }), word, want)
}
