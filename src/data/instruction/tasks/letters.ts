/** Spelling, counting and turning words; rewriting short texts. */

import { capitalised } from '../../corpus/prose.ts'
import { IRREGULAR_NOUNS, IRREGULAR_VERBS } from '../../sources/inflection.ts'
import { ask, type Phrasings, phrasings } from '../phrasing.ts'
import { callOf, type Draw, drawEntity, type Kind, pick, pickEntity, styled, type Turn } from '../turn.ts'

export type WordJob = 'spell' | 'reverse' | 'count' | 'vowels' | 'plural' | 'past'
export type TextJob = 'upper' | 'lower' | 'capitals' | 'words'

const ASK_WORD: Readonly<Record<WordJob, Phrasings>> = {
  spell: phrasings([
    'how do you spell {word}?',
    'how is {word} spelled?',
    'spell {word}',
    'spell "{word}"',
    'spell the word {word}',
    'how do I spell {word}?',
    'how do I write {word}?',
    'give me the letters of {word}',
    'tell me how to spell {word}',
    'spelling of {word}',
    'what is the spelling of {word}?',
    'which letters are in {word}?',
    'spell out {word}',
    'spell out the word "{word}"',
    'write {word} letter by letter',
    'show me the letters of {word}',
  ]),
  reverse: phrasings([
    'reverse {word}',
    'reverse the word {word}',
    'write {word} backwards',
    'write the word {word} backwards',
    'spell {word} backwards',
    'what is {word} backwards?',
    'what is {word} in reverse?',
    '{word} backwards',
    '{word} reversed',
    'how do you write {word} backwards?',
    'turn the word {word} around',
    'turn around the letters of {word}',
    'say {word} backwards',
    'give me {word} in reverse',
    'read "{word}" from the end to the beginning',
  ]),
  count: phrasings([
    'how many letters does {word} have?',
    'how many letters are in {word}?',
    'how many letters are there in the word {word}?',
    'count the letters of {word}',
    'count the letters in {word}',
    'count the letters in "{word}"',
    'letters in {word}',
    'number of letters in {word}',
    'how long is the word {word}?',
    'what is the number of letters in {word}?',
    'tell me how many letters {word} has',
    'of how many letters is {word} made?',
    'how many letters has {word}?',
    'length of the word {word}',
    'give me the number of letters in {word}',
  ]),
  vowels: phrasings([
    'how many vowels does {word} have?',
    'how many vowels are in {word}?',
    'how many vowels are there in the word {word}?',
    'count the vowels of {word}',
    'count the vowels in {word}',
    'count the vowels in "{word}"',
    'vowels in {word}',
    'number of vowels in {word}',
    'what is the number of vowels in {word}?',
    'tell me how many vowels {word} has',
    'how many vowels has {word}?',
    'give me the number of vowels in {word}',
  ]),
  plural: phrasings([
    'what is the plural of {word}?',
    'plural of {word}',
    'the plural of {word}',
    '{word} plural',
    'give me the plural of {word}',
    'tell me the plural of {word}',
    'make {word} plural',
    'put {word} in the plural',
    'write the plural of {word}',
    'what is more than one {word}?',
    'one {word}, two what?',
    'what do you call several of {word}?',
    'how do you write the plural of "{word}"?',
    'turn {word} into the plural',
    'what is the plural form of {word}?',
  ]),
  past: phrasings([
    'what is the past tense of {word}?',
    'past tense of {word}',
    'the past tense of {word}',
    '{word} past tense',
    'give me the past tense of {word}',
    'tell me the past tense of {word}',
    'put {word} in the past tense',
    'write the past tense of {word}',
    'what is the past of {word}?',
    'how do you say {word} in the past?',
    'turn {word} into the past tense',
    'change {word} to the past tense',
    'what is the past form of the verb {word}?',
    'today I {word}, yesterday I what?',
  ]),
}

const WORD_SENTENCE: Readonly<Record<WordJob, (word: string, result: string) => string>> = {
  spell: (word, result) => `The word ${word} is spelled ${result}.`,
  reverse: (word, result) => `The word ${word} backwards is ${result}.`,
  count: (word, result) => `The word ${word} has ${result}.`,
  vowels: (word, result) => `The word ${word} has ${result}.`,
  plural: (word, result) => `The plural of ${word} is ${result}.`,
  past: (word, result) => `The past tense of ${word} is ${result}.`,
}

/** Does it with the tool and says what came of it. */
export function wordJobTurn(draw: Draw, kind: Kind, user: string, word: string, job: WordJob): Turn {
  const call = callOf('letters', { text: word, do: job })
  const result = draw.world.call(call)
  const reference = WORD_SENTENCE[job](word, result)
  return {
    ...{ kind, user, call, result, answer: styled(draw, reference, `${result}.`) },
    expected: {
      ...{ behaviour: 'answer', contains: [result], format: 'sentence' },
      ...{ reference, question: user },
    },
    topic: { type: 'word', word, want: job },
  }
}

function wordForJob(draw: Draw, job: WordJob): string {
  const { random, world } = draw
  if (job === 'plural') return pickEntity(draw, random.below(2) === 0 ? IRREGULAR_NOUNS : world.words.nouns)
  if (job === 'past') return pickEntity(draw, random.below(2) === 0 ? IRREGULAR_VERBS : world.words.verbs)
  return pickEntity(draw, world.words.common)
}

export function askSpelling(draw: Draw): Turn {
  const job = pick(draw.random, ['spell', 'spell', 'reverse', 'reverse', 'count', 'vowels', 'plural', 'past'] as const)
  const word = wordForJob(draw, job)
  return wordJobTurn(draw, 'spelling', ask(draw, ASK_WORD[job], { word }), word, job)
}

const ASK_TEXT: Readonly<Record<TextJob, Phrasings>> = {
  upper: phrasings([
    'write in upper case: {text}',
    'write this in upper case: {text}',
    'write this in capital letters: {text}',
    'put this in capitals: {text}',
    'make this upper case: {text}',
    'convert to upper case: {text}',
    'change to capital letters: {text}',
    'in upper case: {text}',
    'in capital letters please: {text}',
    'can you write "{text}" in capital letters?',
    'turn "{text}" into upper case',
    'I need this in capital letters: {text}',
    'shout this: {text}',
    'upper case please: {text}',
  ]),
  lower: phrasings([
    'write in lower case: {text}',
    'write this in lower case: {text}',
    'write this in small letters: {text}',
    'make this lower case: {text}',
    'convert to lower case: {text}',
    'change to small letters: {text}',
    'in lower case: {text}',
    'in small letters please: {text}',
    'can you write "{text}" in small letters?',
    'turn "{text}" into lower case',
    'I need this without capitals: {text}',
    'lower case please: {text}',
    'put this in small letters: {text}',
  ]),
  capitals: phrasings([
    'write every word with a capital letter: {text}',
    'begin every word with a capital: {text}',
    'give each word a capital letter: {text}',
    'write this as a title: {text}',
    'make this a title: {text}',
    'title case: {text}',
    'convert to title case: {text}',
    'in title case: {text}',
    'put "{text}" in title case',
    'capitalize each word: {text}',
    'capitalize every word of "{text}"',
    'I need this as a title: {text}',
    'write this in title case: {text}',
  ]),
  words: phrasings([
    'how many words are in this sentence: {text}',
    'how many words does this have: {text}',
    'count the words: {text}',
    'count the words in "{text}"',
    'how many words are there in "{text}"?',
    'number of words in "{text}"',
    'tell me how many words this has: {text}',
    'word count: {text}',
    'count how many words this sentence has: {text}',
    'what is the number of words in "{text}"?',
  ]),
}

const NOUNS = (
  'dog cat bird horse teacher farmer doctor child woman man king queen river house garden tree boat ship train car ' +
  'book letter window door table road bridge city forest mountain sailor baker soldier painter student friend cook fox'
).split(' ')
const ADJECTIVES =
  'old young small big quiet happy tired clever kind brave red green white black new little strong slow quick warm cold gray'.split(
    ' ',
  )
const VERBS =
  'sees finds follows likes watches paints carries loses opens closes hears knows loves draws moves meets cleans needs'.split(
    ' ',
  )
const PLACES =
  'in the morning|at night|near the river|in the garden|by the sea|on the hill|after lunch|in the city|every day|in winter|behind the house|before dinner'.split(
    '|',
  )

/** A short sentence without its capital and full stop: sentences are held out, their words are not. */
export function plainSentence(draw: Draw): string {
  const { random } = draw
  const thing = (noun: string): string =>
    random.below(2) === 0 ? `the ${noun}` : `the ${pick(random, ADJECTIVES)} ${noun}`
  return drawEntity(
    draw,
    () => {
      const subject = pick(random, NOUNS)
      const others = NOUNS.filter((noun) => noun !== subject)
      const place = random.below(3) === 0 ? ` ${pick(random, PLACES)}` : ''
      return `${thing(subject)} ${pick(random, VERBS)} ${thing(pick(random, others))}${place}`
    },
    (sentence) => sentence,
  )
}

/** An answer that is a text and nothing else. */
function textAnswer(draw: Draw, user: string, reference: string, call?: Turn['call'], result?: string): Turn {
  return {
    ...{ kind: 'editing', user, ...(call ? { call, result } : {}) },
    answer: draw.style === 'wordy' ? styled(draw, reference, reference, 'block') : reference,
    expected: {
      ...{ behaviour: 'answer', contains: [reference], exact: true, format: 'text' },
      ...{ reference, question: user },
    },
    topic: { type: 'text', text: reference },
  }
}

/** Rewrites a text with the tool. */
export function textJobTurn(draw: Draw, user: string, text: string, job: TextJob): Turn {
  const call = callOf('letters', { text, do: job })
  const result = draw.world.call(call)
  if (job !== 'words') return textAnswer(draw, user, result, call, result)
  const reference = `It has ${result}.`
  return {
    ...{ kind: 'editing', user, call, result, answer: styled(draw, reference, `${result}.`) },
    expected: { behaviour: 'answer', contains: [result], format: 'sentence', reference, question: user },
  }
}

const FULL_STOP = phrasings([
  'add the capital and the full stop: {text}',
  'write as a proper sentence: {text}',
  'write this as a proper sentence: {text}',
  'correct the capital and the punctuation: {text}',
  'fix the capital letter and the punctuation: {text}',
  'fix the punctuation: {text}',
  'correct the punctuation: {text}',
  'punctuate this: {text}',
  'make this a correct sentence: {text}',
  'turn this into a correct sentence: {text}',
  'put in the capital letter and the full stop: {text}',
  'add punctuation: {text}',
  'this needs a capital and a full stop: {text}',
  'correct this: {text}',
])
const REPLACE = phrasings([
  'replace {a} with {b}: {text}',
  'replace "{a}" with "{b}" in: {text}',
  'replace the word {a} with {b} in this: {text}',
  'change {a} to {b}: {text}',
  'change "{a}" to "{b}" in this sentence: {text}',
  'write {b} instead of {a}: {text}',
  'put {b} in place of {a}: {text}',
  'in this sentence, replace {a} with {b}: {text}',
  'say this with {b} instead of {a}: {text}',
  'use {b} instead of {a} in: {text}',
  'the same with {b} instead of {a}: {text}',
])
const REMOVE = phrasings([
  'remove the word {a}: {text}',
  'remove "{a}" from this: {text}',
  'leave out the word {a}: {text}',
  'leave out "{a}": {text}',
  'delete the word {a} from: {text}',
  'delete {a}: {text}',
  'write this without the word {a}: {text}',
  'say this without {a}: {text}',
  'take the word {a} out of this: {text}',
  'drop the word {a} from: {text}',
])

export function askEditing(draw: Draw): Turn {
  const { random } = draw
  const text = plainSentence(draw)
  const form = random.below(10)
  if (form < 5) {
    const job = pick(random, ['upper', 'upper', 'lower', 'capitals', 'words'] as const)
    // What is to be made small begins big.
    const given =
      job === 'lower'
        ? draw.world.call(callOf('letters', { text, do: pick(random, ['upper', 'capitals'] as const) }))
        : text
    return textJobTurn(draw, ask(draw, ASK_TEXT[job], { text: given }, true), given, job)
  }
  if (form < 7) return textAnswer(draw, ask(draw, FULL_STOP, { text }, true), `${capitalised(text)}.`)
  const words = text.split(' ')
  const changeable = words.filter((word) => NOUNS.includes(word) || ADJECTIVES.includes(word))
  const a = pick(random, changeable)
  // Only a word without which the sentence still stands is taken out of it.
  if (form < 8 || !ADJECTIVES.includes(a) || words.indexOf(a) !== words.lastIndexOf(a)) {
    const b = pick(
      random,
      (NOUNS.includes(a) ? NOUNS : ADJECTIVES).filter((word) => !words.includes(word)),
    )
    const changed = words.map((word) => (word === a ? b : word))
    return textAnswer(draw, ask(draw, REPLACE, { a, b, text }, true), changed.join(' '))
  }
  const left = words.filter((word) => word !== a)
  return textAnswer(draw, ask(draw, REMOVE, { a, text }, true), left.join(' '))
}
