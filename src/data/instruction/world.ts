/** The conversations that the assistant is taught with, and asked: composed of turns, each from one draw. */

import type { StepRandom } from '../random.ts'
import { Countries } from '../sources/countries.ts'
import { Dictionary, kindOf, oppositeOf, shortDefinition, synonymsOf } from '../sources/dictionary.ts'
import type { Conversation, Message } from './conversation.ts'
import { askBasics } from './tasks/basics.ts'
import { askCountry, askMadeUpCountry } from './tasks/countries.ts'
import { askDate, askNoDate } from './tasks/days.ts'
import { askFollowUp, supply } from './tasks/follow-ups.ts'
import { askEditing, askSpelling } from './tasks/letters.ts'
import { askList } from './tasks/lists.ts'
import { askArithmetic, askProblem } from './tasks/numbers.ts'
import { askFarewell, askHarm, askTalk, askUnclear, askUnknown } from './tasks/talk.ts'
import { askMadeUpWord, askWord } from './tasks/words.ts'
import type { Call, Draw, Expected, Kind, Split, Style, Turn, Words, World } from './turn.ts'

/**
 * The sources and what the tools say.
 *
 * @param call runs a call of a tool: the results that stand in the conversations are those
 */
export function openWorld(call: (call: Call) => string): World {
  const dictionary = new Dictionary()
  let words: Words | undefined
  return {
    dictionary,
    countries: new Countries(),
    call,
    get words() {
      return (words ??= wordsOf(dictionary))
    },
  }
}

/** Meanings of more words are not asked for: a small model does not copy them whole. */
const MOST_DEFINITION_WORDS = 12

function wordsOf(dictionary: Dictionary): Words {
  const common = dictionary.commonWords(2)
  const lists = {
    defined: [] as string[],
    withSynonyms: [] as string[],
    withOpposite: [] as string[],
    withKind: [] as string[],
    withKinds: [] as string[],
    nouns: [] as string[],
    verbs: [] as string[],
  }
  for (const word of common) {
    const senses = dictionary.senses(word)
    const [sense] = senses
    const definition = shortDefinition(sense.synset)
    // A name that is written with a capital is no word to ask about.
    if (!sense.synset.words.includes(word)) continue
    const length = definition.split(' ').length
    if (length > 1 && length <= MOST_DEFINITION_WORDS && !/…|^used /.test(definition)) lists.defined.push(word)
    if (synonymsOf(senses).length > 0) lists.withSynonyms.push(word)
    const opposite = oppositeOf(dictionary, senses)
    if (opposite && /^[a-z]+$/.test(opposite)) lists.withOpposite.push(word)
    // Of what is asked about the thing itself, the word must name the thing mostly.
    if (sense.uses < 4) continue
    if (sense.partOfSpeech === 'verb') lists.verbs.push(word)
    if (sense.partOfSpeech !== 'noun') continue
    const kind = kindOf(dictionary, senses)
    if (kind && kind.length <= 20) lists.withKind.push(word)
    if (sense.synset.pointers.filter(({ symbol }) => symbol === '~').length > 1) lists.withKinds.push(word)
    // Acts, states and masses have no plural that one would ask for: animals, things, people, plants have.
    if ([5, 6, 8, 18, 20].includes(sense.synset.lexicographer) && !/s$/.test(word)) lists.nouns.push(word)
  }
  return { common, ...lists }
}

type Task = (draw: Draw) => Turn

/** How often each task begins a conversation, in hundredths or so. */
const TASKS: readonly (readonly [number, Task])[] = [
  [12, (draw) => askWord(draw, 'meaning')],
  [7, (draw) => askWord(draw, 'synonyms')],
  [7, (draw) => askWord(draw, 'opposite')],
  [4, (draw) => askWord(draw, 'kind')],
  [4, (draw) => askWord(draw, 'kinds')],
  [16, askCountry],
  [12, askArithmetic],
  [7, askProblem],
  [7, askDate],
  [8, askSpelling],
  [8, askEditing],
  [7, askList],
  [4, askBasics],
  [6, askTalk],
  [5, askHarm],
  [6, askUnknown],
  [3, askMadeUpWord],
  [3, askMadeUpCountry],
  [0.5, askNoDate],
]
const WEIGHT = TASKS.reduce((sum, [weight]) => sum + weight, 0)

export interface GeneratedConversation {
  readonly conversation: Conversation
  readonly split: Split
  /** One an answer, in order. */
  readonly turns: readonly GeneratedTurn[]
}

export interface GeneratedTurn {
  readonly kind: Kind
  readonly expected: Expected
  /** Where the answer stands in `conversation.messages`; what precedes it is its prompt, a tool's result included. */
  readonly answerAt: number
  /** Where the question stands. */
  readonly questionAt: number
}

export interface GenerateOptions {
  /** How answers are written: as different people would, or all in the plain sentences that a judge likes best. */
  readonly styles?: 'mixed' | 'plain'
  /** Turns of the longest conversation. Default 4. */
  readonly mostTurns?: number
  /** Characters of the longest, its marks included: about three make a token. */
  readonly mostCharacters?: number
}

/** At most 500 tokens of a vocabulary of 4,096. */
const MOST_CHARACTERS = 1050
/** Of `<|im_start|>`, a role and `<|im_end|>`, which are about five tokens. */
const MARK_CHARACTERS = 14

/** A conversation of one to four turns: the same draws give the same. */
export function generateConversation(
  world: World,
  random: StepRandom,
  split: Split,
  { styles = 'mixed', mostTurns = 4, mostCharacters = MOST_CHARACTERS }: GenerateOptions = {},
): GeneratedConversation {
  const drawn = (): Draw => ({ world, random, split, style: styles === 'plain' ? 'plain' : drawStyle(random) })
  const turns: Turn[] = []
  const wanted = Math.min(mostTurns, [1, 1, 1, 1, 2, 2, 2, 3, 3, 4][random.below(10)])
  if (wanted > 1 && random.uniform() < 0.12) {
    const unclear = askUnclear(drawn())
    turns.push(unclear.turn, supply(drawn(), unclear))
  } else if (wanted === 1 && random.uniform() < 0.04) {
    turns.push(askUnclear(drawn()).turn)
  } else turns.push(drawTask(random)(drawn()))
  let characters = turns.reduce((sum, turn) => sum + lengthOf(turn), 0)
  while (turns.length < wanted) {
    const next = nextTurn(drawn(), turns, turns.length === wanted - 1)
    characters += lengthOf(next)
    if (characters > mostCharacters) break
    turns.push(next)
  }
  return assembled(turns, split)
}

/** Refers back where it can, mostly; else begins something new, or ends the conversation. */
function nextTurn(draw: Draw, turns: readonly Turn[], isLast: boolean): Turn {
  const topic = turns[turns.length - 1].topic
  const chance = draw.random.uniform()
  if (topic && chance < 0.7) {
    const turn = askFollowUp(draw, topic)
    if (turn) return turn
  }
  const named = turns.find((turn) => turn.topic?.type === 'name')?.topic
  if (named && chance < 0.85) return askFollowUp(draw, named) as Turn
  if (isLast && chance > 0.9) return askFarewell(draw)
  return drawTask(draw.random)(draw)
}

function drawTask(random: StepRandom): Task {
  let left = random.uniform() * WEIGHT
  for (const [weight, task] of TASKS) if ((left -= weight) < 0) return task
  return TASKS[0][1]
}

/** Most answers are as one wants them; the rest is curt or wordy, and leaves something to be learned from a judge. */
function drawStyle(random: StepRandom): Style {
  const chance = random.uniform()
  return chance < 0.7 ? 'plain' : chance < 0.8 ? 'short' : 'wordy'
}

const lengthOf = ({ user, call, result = '', answer }: Turn): number =>
  user.length +
  answer.length +
  2 * MARK_CHARACTERS +
  (call ? 2 * MARK_CHARACTERS + 60 + call.arguments.length + result.length : 0)

function assembled(turns: readonly Turn[], split: Split): GeneratedConversation {
  const messages: Message[] = []
  const told: GeneratedTurn[] = []
  for (const { user, call, result, answer, kind, expected } of turns) {
    const questionAt = messages.length
    messages.push({ role: 'user', content: user })
    if (call) {
      const id = `call_${messages.length}`
      messages.push({ role: 'assistant', content: '', toolCalls: [{ id, ...call }] })
      messages.push({ role: 'tool', content: result ?? '', toolCallId: id })
    }
    told.push({ kind, expected, questionAt, answerAt: messages.length })
    messages.push({ role: 'assistant', content: answer })
  }
  return { conversation: { messages }, split, turns: told }
}
