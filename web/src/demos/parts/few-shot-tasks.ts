import type { Pair } from './scorers.ts'

/** Something that a few examples may tell, and no word of the prompt does. */
export interface Task {
  readonly name: string
  readonly pairs: readonly (readonly [question: string, answer: string])[]
}

export const tasks: readonly Task[] = [
  {
    name: 'Opposites',
    pairs: [
      ['hot', 'cold'],
      ['big', 'small'],
      ['up', 'down'],
      ['old', 'young'],
      ['open', 'closed'],
      ['day', 'night'],
      ['rich', 'poor'],
      ['early', 'late'],
      ['wet', 'dry'],
      ['full', 'empty'],
      ['strong', 'weak'],
      ['fast', 'slow'],
    ],
  },
  {
    name: 'Capitals',
    pairs: [
      ['France', 'Paris'],
      ['Italy', 'Rome'],
      ['Spain', 'Madrid'],
      ['Japan', 'Tokyo'],
      ['Egypt', 'Cairo'],
      ['Greece', 'Athens'],
      ['Russia', 'Moscow'],
      ['Germany', 'Berlin'],
      ['Cuba', 'Havana'],
      ['Austria', 'Vienna'],
      ['Peru', 'Lima'],
      ['Ireland', 'Dublin'],
    ],
  },
  {
    name: 'Plurals',
    pairs: [
      ['ship', 'ships'],
      ['man', 'men'],
      ['foot', 'feet'],
      ['bird', 'birds'],
      ['city', 'cities'],
      ['wife', 'wives'],
      ['box', 'boxes'],
      ['child', 'children'],
      ['leaf', 'leaves'],
      ['sailor', 'sailors'],
      ['tooth', 'teeth'],
      ['church', 'churches'],
    ],
  },
  {
    name: 'The same word again',
    pairs: ['whale', 'ship', 'sea', 'captain', 'boat', 'man', 'wind', 'hand', 'head', 'water', 'night', 'king'].map(
      (word) => [word, word] as const,
    ),
  },
]

export const mostExamples = 8
/** Questions asked at each number of examples. */
const questions = 8

/**
 * Prompts with `count` examples each, about other words than the question's. Which ones follows from the question alone,
 * so that one example more is the same prompt with one line before it.
 *
 * @param shuffled - each example has the answer of the next one
 */
export function promptsOf({ pairs }: Task, count: number, shuffled: boolean): Pair[] {
  return Array.from({ length: questions }, (_, question) => {
    const others = Array.from({ length: pairs.length - 1 }, (_, i) => pairs[(question + 1 + i) % pairs.length])
    const lines = others.slice(0, count).map(([asked, answer], i) => {
      const told = shuffled ? others[(i + 1) % others.length][1] : answer
      return `${asked}: ${told}\n`
    })
    const [asked, answer] = pairs[question]
    return { text: `${lines.reverse().join('')}${asked}:`, answer: ` ${answer}` }
  })
}
