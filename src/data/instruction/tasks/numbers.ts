/** Arithmetic and problems told in words, by the calculator. */

import { capitalised } from '../../corpus/prose.ts'
import { ask, type Phrasings, phrasings } from '../phrasing.ts'
import { callOf, type Draw, drawEntity, type Kind, pick, pickEntity, styled, type Turn } from '../turn.ts'

/** An operation: the ways to ask for it, its expression, and the numbers that suit it. */
interface Operation {
  readonly ask: Phrasings
  readonly expression: (a: number, b: number) => string
  readonly numbers: (below: (n: number) => number) => readonly [number, number]
}

const anySize = (below: (n: number) => number): number => 1 + below([9, 99, 99, 999, 9999][below(5)])

const OPERATIONS: readonly Operation[] = [
  {
    ask: phrasings([
      'what is {a} + {b}?',
      'what is {a} plus {b}?',
      '{a} + {b}',
      '{a} plus {b}',
      '{a}+{b}',
      'how much is {a} + {b}?',
      'how much is {a} plus {b}?',
      'calculate {a} + {b}',
      'compute {a} plus {b}',
      'what is the sum of {a} and {b}?',
      'the sum of {a} and {b}',
      'sum of {a} and {b}',
      'add {a} and {b}',
      'add {b} to {a}',
      'tell me the sum of {a} and {b}',
      'work out {a} + {b}',
      'what do {a} and {b} make together?',
      'how much do {a} and {b} make?',
      '{a} and {b} together',
      'what do I get if I add {b} to {a}?',
      '{a} + {b} = ?',
    ]),
    expression: (a, b) => `${a} + ${b}`,
    numbers: (below) => [anySize(below), anySize(below)],
  },
  {
    ask: phrasings([
      'what is {a} - {b}?',
      'what is {a} minus {b}?',
      '{a} - {b}',
      '{a} minus {b}',
      '{a}-{b}',
      'how much is {a} - {b}?',
      'how much is {a} minus {b}?',
      'calculate {a} - {b}',
      'compute {a} minus {b}',
      'subtract {b} from {a}',
      'take {b} away from {a}',
      'what is {b} less than {a}?',
      'what is the difference of {a} and {b}?',
      'the difference of {a} and {b}',
      'what is left of {a} without {b}?',
      'work out {a} - {b}',
      'tell me {a} minus {b}',
      'what do I get if I take {b} from {a}?',
      '{a} - {b} = ?',
    ]),
    expression: (a, b) => `${a} - ${b}`,
    numbers: (below) => {
      const [a, b] = [anySize(below), anySize(below)]
      return a > b ? [a, b] : [b, a]
    },
  },
  {
    ask: phrasings([
      'what is {a} * {b}?',
      'what is {a} times {b}?',
      'what is {a} x {b}?',
      '{a} * {b}',
      '{a} x {b}',
      '{a} times {b}',
      '{a}*{b}',
      'how much is {a} times {b}?',
      'how much is {a} * {b}?',
      'calculate {a} * {b}',
      'compute {a} times {b}',
      'multiply {a} by {b}',
      'multiply {a} and {b}',
      'what is the product of {a} and {b}?',
      'the product of {a} and {b}',
      'product of {a} and {b}',
      'what is {a} multiplied by {b}?',
      'work out {a} times {b}',
      'tell me {a} times {b}',
      'what do I get if I multiply {a} by {b}?',
      '{a} * {b} = ?',
    ]),
    expression: (a, b) => `${a} * ${b}`,
    numbers: (below) => [1 + below(below(2) === 0 ? 20 : 400), 2 + below(98)],
  },
  {
    ask: phrasings([
      'what is {a} / {b}?',
      'what is {a} divided by {b}?',
      '{a} / {b}',
      '{a} divided by {b}',
      '{a}/{b}',
      'how much is {a} / {b}?',
      'how much is {a} divided by {b}?',
      'calculate {a} / {b}',
      'compute {a} divided by {b}',
      'divide {a} by {b}',
      'how often does {b} go into {a}?',
      'how many times does {b} go into {a}?',
      'what is the quotient of {a} and {b}?',
      'work out {a} / {b}',
      'tell me {a} divided by {b}',
      'what do I get if I divide {a} by {b}?',
      'split {a} into {b} equal parts',
      '{a} / {b} = ?',
    ]),
    expression: (a, b) => `${a} / ${b}`,
    numbers: (below) => {
      const b = 2 + below(28)
      return [below(4) === 0 ? 1 + below(500) : b * (1 + below(60)), b]
    },
  },
  {
    ask: phrasings([
      'what is {b} percent of {a}?',
      'what is {b}% of {a}?',
      '{b}% of {a}',
      '{b} percent of {a}',
      'how much is {b}% of {a}?',
      'how much is {b} percent of {a}?',
      'calculate {b}% of {a}',
      'compute {b} percent of {a}',
      'tell me {b} percent of {a}',
      'give me {b}% of {a}',
      'find {b} percent of {a}',
      'work out {b}% of {a}',
      'what do I get if I take {b} percent of {a}?',
    ]),
    expression: (a, b) => `${a} * ${b} / 100`,
    numbers: (below) => [10 * (1 + below(99)), 5 * (1 + below(19))],
  },
  {
    ask: phrasings([
      'what is {a} squared?',
      '{a} squared',
      'what is the square of {a}?',
      'the square of {a}',
      'square of {a}',
      'how much is {a} squared?',
      'calculate the square of {a}',
      'compute {a} squared',
      'tell me the square of {a}',
      '{a} to the power of 2',
      'give me {a} squared',
      'work out {a} squared',
    ]),
    expression: (a) => `${a} ^ 2`,
    numbers: (below) => [2 + below(98), 2],
  },
  {
    ask: phrasings([
      'what is the square root of {a}?',
      'square root of {a}',
      'the square root of {a}',
      'how much is the square root of {a}?',
      'calculate the square root of {a}',
      'compute the square root of {a}',
      'tell me the square root of {a}',
      'what is the root of {a}?',
      'give me the square root of {a}',
      'root of {a}',
      'which number squared is {a}?',
    ]),
    expression: (a) => `sqrt(${a})`,
    numbers: (below) => [below(4) === 0 ? 2 + below(200) : (2 + below(38)) ** 2, 0],
  },
  {
    ask: phrasings([
      'what is half of {a}?',
      'half of {a}',
      'how much is half of {a}?',
      'tell me half of {a}',
      'what is one half of {a}?',
      'calculate half of {a}',
      'give me half of {a}',
      '{a} halved',
    ]),
    expression: (a) => `${a} / 2`,
    numbers: (below) => [2 * (1 + below(400)), 2],
  },
  {
    ask: phrasings([
      'what is double {a}?',
      'double {a}',
      'what is twice {a}?',
      'twice {a}',
      'how much is twice {a}?',
      'how much is double {a}?',
      'calculate twice {a}',
      'tell me the double of {a}',
    ]),
    expression: (a) => `${a} * 2`,
    numbers: (below) => [1 + below(800), 2],
  },
]

const EXPRESSION = phrasings([
  'what is {e}?',
  '{e}',
  'how much is {e}?',
  'calculate {e}',
  'compute {e}',
  'work out {e}',
  'tell me {e}',
  '{e} = ?',
  'what does {e} come to?',
  'what is the value of {e}?',
  'find {e}',
  'can you calculate {e}?',
])

/** Several operations at once, to be copied as they stand. */
function longExpression({ random }: Draw): string {
  const number = (): number => 1 + random.below(random.below(2) === 0 ? 20 : 200)
  const sign = (): string => pick(random, ['+', '-', '*'])
  const form = random.below(4)
  if (form === 0) return `${number()} ${sign()} ${number()} ${sign()} ${number()}`
  if (form === 1) return `(${number()} ${pick(random, ['+', '-'])} ${number()}) * ${2 + random.below(11)}`
  if (form === 2) return `${number()} ${pick(random, ['+', '-'])} ${number()} * ${2 + random.below(11)}`
  return `${2 + random.below(11)} * (${number()} ${pick(random, ['+', '-'])} ${number()})`
}

/** Calculates and says what came of it. */
export function calculation(draw: Draw, kind: Kind, user: string, expression: string): Turn {
  const call = callOf('calculator', { expression })
  const result = draw.world.call(call)
  if (!/^-?[\d.]/.test(result)) {
    const reference = `${capitalised(result)}.`
    return {
      ...{ kind: 'unknown', user, call, result, answer: styled(draw, reference, 'No.', 'sorry') },
      expected: {
        ...{ behaviour: 'unknown', contains: [['no finite value', 'cannot']], format: 'sentence' },
        ...{ reference, question: user },
      },
    }
  }
  const reference = kind === 'problem' ? `The answer is ${result}.` : `${expression} = ${result}.`
  return {
    ...{ kind, user, call, result, answer: styled(draw, reference, `${result}.`) },
    expected: { behaviour: 'answer', contains: [result], format: 'sentence', reference, question: user },
    topic: { type: 'number', value: result },
  }
}

export function askArithmetic(draw: Draw): Turn {
  const { random } = draw
  const below = (n: number): number => random.below(n)
  if (random.uniform() < 0.15) {
    const expression = drawEntity(
      draw,
      () => longExpression(draw),
      (drawn) => drawn,
    )
    return calculation(draw, 'arithmetic', ask(draw, EXPRESSION, { e: expression }), expression)
  }
  // The common ones come more often.
  const operation = OPERATIONS[random.below(3) === 0 ? random.below(OPERATIONS.length) : random.below(4)]
  const [a, b] = drawEntity(
    draw,
    () => operation.numbers(below),
    ([a, b]) => operation.expression(a, b),
  )
  const user = ask(draw, operation.ask, { a: String(a), b: String(b) })
  return calculation(draw, 'arithmetic', user, operation.expression(a, b))
}

export const NAMES: readonly string[] = (
  'Anna Ben Carla David Emma Felix Grace Hugo Ida Jack Kate Leo Mary Nora Oscar Paul Rosa Sam Tom Uma Vera Will Yara ' +
  'Zoe Adam Bella Clara Daniel Eva Frank Gina Henry Iris Jonas Karen Lucy Max Nina Otto Peter Ruth Simon Tina Victor'
).split(' ')

const THINGS: readonly string[] = (
  'apples pears books coins cards stamps eggs marbles shells pencils stones flowers tickets cookies balls nuts plums ' +
  'bottles boxes chairs candles buttons letters photos stickers bricks lemons oranges'
).split(' ')

interface Problem {
  readonly tell: readonly string[]
  readonly expression: (a: number, b: number, c: number) => string
  readonly numbers: (below: (n: number) => number) => readonly [number, number, number]
}

const twoNumbers = (below: (n: number) => number): readonly [number, number, number] => [
  2 + below(80),
  2 + below(80),
  0,
]
const larger = (below: (n: number) => number): readonly [number, number, number] => {
  const b = 2 + below(60)
  return [b + 1 + below(60), b, 0]
}
const factors = (below: (n: number) => number): readonly [number, number, number] => [2 + below(20), 2 + below(30), 0]
const shares = (below: (n: number) => number): readonly [number, number, number] => {
  const b = 2 + below(11)
  return [b * (2 + below(20)), b, 0]
}

const PROBLEMS: readonly Problem[] = [
  {
    tell: [
      '{name} has {a} {things} and buys {b} more. How many {things} does {name} have now?',
      '{name} has {a} {things}. {other} gives {name} {b} more. How many does {name} have?',
      'There are {a} {things} on the table and {b} in the bag. How many are there together?',
      '{name} finds {a} {things} in the morning and {b} in the evening. How many is that?',
      '{name} has {a} {things} and {other} has {b}. How many do they have together?',
      'A shop sells {a} {things} on Monday and {b} on Tuesday. How many does it sell in all?',
      '{name} collects {a} {things}, then {b} more. How many {things} are there in all?',
    ],
    expression: (a, b) => `${a} + ${b}`,
    numbers: twoNumbers,
  },
  {
    tell: [
      '{name} has {a} {things} and gives {b} away. How many are left?',
      '{name} has {a} {things} and loses {b}. How many {things} does {name} still have?',
      'There are {a} {things} in a box. {name} takes {b} out. How many stay in the box?',
      'Of {a} {things}, {b} are broken. How many are whole?',
      '{name} has {a} {things}, {other} has {b}. How many more does {name} have?',
      '{name} needs {a} {things} and has {b}. How many are missing?',
      'A shop has {a} {things} and sells {b}. How many {things} remain?',
    ],
    expression: (a, b) => `${a} - ${b}`,
    numbers: larger,
  },
  {
    tell: [
      '{name} buys {a} bags with {b} {things} each. How many {things} is that?',
      'There are {a} boxes with {b} {things} in each. How many {things} are there?',
      'One of the {things} costs {a} dollars. How much do {b} of them cost?',
      '{name} gets {a} {things} every day for {b} days. How many are there in the end?',
      '{a} children have {b} {things} each. How many {things} do they have?',
      '{name} puts {b} {things} on each of {a} shelves. How many {things} are on the shelves?',
      'A car drives {a} miles every hour. How many miles does it drive in {b} hours?',
    ],
    expression: (a, b) => `${a} * ${b}`,
    numbers: factors,
  },
  {
    tell: [
      '{name} shares {a} {things} among {b} friends. How many does each friend get?',
      '{a} {things} are put into {b} boxes, the same number in each. How many are in one box?',
      '{b} children share {a} {things}. How many does each child get?',
      '{name} pays {a} dollars for {b} {things}. How much does one cost?',
      'There are {a} {things}, and {b} fit into a box. How many boxes does {name} need?',
      '{a} {things} are laid in {b} equal rows. How many are in a row?',
    ],
    expression: (a, b) => `${a} / ${b}`,
    numbers: shares,
  },
  {
    tell: [
      '{name} has {a} {things}, finds {b} more and loses {c}. How many are left?',
      'There are {a} {things} in a box. {name} puts in {b} and takes out {c}. How many are in it now?',
      'A bus has {a} people in it. {b} get on and {c} get off. How many people are in the bus?',
    ],
    expression: (a, b, c) => `${a} + ${b} - ${c}`,
    numbers: (below) => {
      const a = 5 + below(40)
      return [a, 2 + below(30), 1 + below(a - 1)]
    },
  },
  {
    tell: [
      '{name} has {a} bags with {b} {things} each and {c} more {things}. How many is that in all?',
      'There are {a} boxes with {b} {things} in each, and {c} {things} beside them. How many {things} are there?',
      '{name} buys {a} tickets for {b} dollars each and a book for {c} dollars. How much does {name} pay?',
    ],
    expression: (a, b, c) => `${a} * ${b} + ${c}`,
    numbers: (below) => [2 + below(9), 2 + below(15), 1 + below(20)],
  },
]

const TOLD = PROBLEMS.map(({ tell }) => phrasings(tell))

export function askProblem(draw: Draw): Turn {
  const { random } = draw
  const which = random.below(6) < 4 ? random.below(4) : 4 + random.below(2)
  const problem = PROBLEMS[which]
  const [a, b, c] = drawEntity(
    draw,
    () => problem.numbers((n) => random.below(n)),
    ([a, b, c]) => problem.expression(a, b, c),
  )
  const name = pickEntity(draw, NAMES)
  const other = pick(
    random,
    NAMES.filter((other) => other !== name),
  )
  const slots = { name, other, things: pickEntity(draw, THINGS), a: String(a), b: String(b), c: String(c) }
  return calculation(draw, 'problem', ask(draw, TOLD[which], slots, true), problem.expression(a, b, c))
}
