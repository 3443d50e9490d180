import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { openDataFile } from '../../src/eval/data-file.ts'
import { type Question, type ReasoningTask, rightChoice } from '../../src/eval/reasoning.ts'
import { addsub } from '../../src/eval/tasks/addsub.ts'
import { aqua } from '../../src/eval/tasks/aqua.ts'
import { bigbenchDate } from '../../src/eval/tasks/bigbench-date.ts'
import { coinFlip } from '../../src/eval/tasks/coin-flip.ts'
import { commonsenseqa } from '../../src/eval/tasks/commonsenseqa.ts'
import { gsm8k } from '../../src/eval/tasks/gsm8k.ts'
import { findTask, GROUPS, TASKS } from '../../src/eval/tasks/index.ts'
import { lastLetters } from '../../src/eval/tasks/last-letters.ts'
import { multiarith } from '../../src/eval/tasks/multiarith.ts'
import { multipleChoice } from '../../src/eval/tasks/multiple-choice.ts'
import { objectTracking } from '../../src/eval/tasks/object-tracking.ts'
import { singleeq } from '../../src/eval/tasks/singleeq.ts'
import { strategyqa } from '../../src/eval/tasks/strategyqa.ts'
import { svamp } from '../../src/eval/tasks/svamp.ts'
import { answersIn } from '../../src/prompt/answers.ts'
import { ScriptedModel } from '../prompt/scripted-model.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const read = (task: ReasoningTask, text: string): Question[] => task.read({ path: 'sets/questions', text })
const lines = (...entries: object[]): string => entries.map((entry) => JSON.stringify(entry)).join('\n')

const SUM = [{ sQuestion: ' How many? ', lSolutions: [39.0] }]

describe('a question is read from', () => {
  it.each<[string, ReasoningTask, string, Question]>([
    [
      'gsm8k',
      gsm8k,
      lines({ question: 'How many? ', answer: '1 + 1 = <<1+1=2>>2\n#### 1,080' }),
      { stem: 'How many?', question: 'How many?', answer: '1080' },
    ],
    [
      'svamp',
      svamp,
      JSON.stringify([{ Body: 'There are 2. ', Question: ' How many?', Answer: 51.0 }]),
      { stem: 'There are 2. How many?', question: 'There are 2. How many?', answer: '51' },
    ],
    ['multiarith', multiarith, JSON.stringify(SUM), { stem: 'How many?', question: 'How many?', answer: '39' }],
    [
      'addsub',
      addsub,
      JSON.stringify([{ sQuestion: 'How many?', lSolutions: ['4.0'] }]),
      { stem: 'How many?', question: 'How many?', answer: '4' },
    ],
    [
      'singleeq',
      singleeq,
      JSON.stringify([{ sQuestion: 'How many?', lSolutions: [4.5] }]),
      { stem: 'How many?', question: 'How many?', answer: '4.5' },
    ],
    [
      'aqua',
      aqua,
      lines({ question: 'What?', options: ['A)1(2)', 'B)2', 'C) 3', 'D)4', 'E)None'], correct: 'C' }),
      {
        stem: 'What?',
        question: 'What? Answer Choices: (A) 1(2) (B) 2 (C) 3 (D) 4 (E) None',
        choices: ['1(2)', '2', '3', '4', 'None'],
        answer: 'C',
      },
    ],
    [
      'strategyqa',
      strategyqa,
      JSON.stringify({ name: 'x', examples: [{ input: 'Is it?', target_scores: { Yes: 0, No: 1 } }] }),
      { stem: 'Is it?', question: 'Is it?', choices: ['Yes', 'No'], answer: 'no' },
    ],
    [
      'object-tracking',
      objectTracking,
      JSON.stringify({ examples: [{ input: 'Ann has  ', target_scores: { 'a.': 0, 'b.': 1, 'c.': 0 } }] }),
      {
        stem: 'Ann has',
        question: 'Ann has \nWhich choice is true ? Answer Choices: (A) a. (B) b. (C) c.',
        choices: ['a.', 'b.', 'c.'],
        answer: 'B',
      },
    ],
    [
      'coin-flip',
      coinFlip,
      JSON.stringify({ examples: [{ question: 'Heads?', answer: 'yes' }] }),
      { stem: 'Heads?', question: 'Heads?', choices: ['yes', 'no'], answer: 'yes' },
    ],
    [
      'last-letters',
      lastLetters,
      JSON.stringify({ examples: [{ question: 'Take "Ann Bo".', answer: 'no' }] }),
      { stem: 'Take "Ann Bo".', question: 'Take "Ann Bo".', answer: 'no' },
    ],
  ])('%s', (_, task, text, question) => {
    expect(read(task, text)).toEqual([question])
  })

  it('commonsenseqa, whose choices have labels', () => {
    const choices = ['bank', 'shop', 'zoo', 'mall', 'sea'].map((text, i) => ({ label: 'ABCDE'[i], text }))
    const [question] = read(commonsenseqa, lines({ answerKey: 'B', question: { stem: 'Where?', choices } }))
    expect(question.question).toBe('Where? Answer Choices: (A) bank (B) shop (C) zoo (D) mall (E) sea')
    expect(rightChoice(question, commonsenseqa.answer)).toBe(1)
  })

  it('bigbench-date, in an order of its own that never changes', () => {
    const scores = { '01/01/2000': 1, '02/01/2000': 0, '03/01/2000': 0, '04/01/2000': 0 }
    const examples = Array.from({ length: 20 }, () => ({ input: 'When?', target_scores: scores }))
    const questions = read(bigbenchDate, JSON.stringify({ examples }))
    for (const question of questions) {
      expect(question.choices?.[rightChoice(question, bigbenchDate.answer)]).toBe('01/01/2000')
    }
    expect(new Set(questions.map(({ answer }) => answer)).size).toBe(4)
    expect(read(bigbenchDate, JSON.stringify({ examples }))).toEqual(questions)
  })
})

describe('a bad file is told with its line', () => {
  it.each<[ReasoningTask, string, string]>([
    [gsm8k, '{"question": "a", "answer": "#### 1"}\n{"question"', 'sets/questions, line 2: is not JSON'],
    [gsm8k, '\n{"answer": "#### 1"}', 'sets/questions, line 2: "question": Invalid input: expected string'],
    [gsm8k, '{"question": "a", "answer": "1"}', 'line 1: "answer": ends with "#### " and a number'],
    [gsm8k, '\n\n', 'sets/questions: is empty'],
    [aqua, lines({ question: 'a', options: ['A)1', 'B)2', 'C)3', 'D)4', 'F)5'], correct: 'A' }), '"options.4": begins'],
    [svamp, '[\n{"Body": "a", "Question": "b", "Answer": 1},\n\n{"Body": 5}\n]', 'line 4 (entry 2): "Body"'],
    [svamp, '{}', 'sets/questions: is not a list'],
    [svamp, '[]', 'sets/questions: is empty'],
    [svamp, '[1,\n2', 'sets/questions, line 2: is not JSON'],
    [strategyqa, '{"examples": 3}', 'sets/questions: has no list "examples"'],
    [
      strategyqa,
      '{"keys": [[1], {"a": "}]"}],\n"examples": [\n  {"input": "a [", "target_scores": {"Yes": 1, "No": 0}},\n  7]}',
      'sets/questions, line 4 (entry 2): Invalid input: expected object, received number',
    ],
    [
      objectTracking,
      '{"examples":\n[{"input": "a", "target_scores": {"a": 0}}]}',
      'line 2 (entry 1): "target_scores": has one choice that scores 1',
    ],
  ])('%#', (task, text, sentence) => {
    expect(() => read(task, text)).toThrow(sentence)
  })

  it('whatever the damage, in one sentence', () => {
    const files: [ReasoningTask, string][] = [
      [gsm8k, lines({ question: 'a "b"', answer: '#### 1' }, { question: 'c', answer: '#### 2' })],
      [aqua, lines({ question: 'a', options: ['A)1', 'B)2', 'C)3', 'D)4', 'E)5'], correct: 'A' })],
      [svamp, JSON.stringify([{ Body: '[{', Question: 'b\\"]', Answer: 1 }], undefined, 1)],
      [multiarith, JSON.stringify(SUM)],
      [strategyqa, JSON.stringify({ examples: [{ input: 'a', target_scores: { Yes: 1, No: 0 } }] }, undefined, 1)],
      [bigbenchDate, JSON.stringify({ x: [['{']], examples: [{ input: 'a', target_scores: { a: 1, b: 0 } }] })],
    ]
    const damage = fc.record({
      file: fc.nat(files.length - 1),
      at: fc.nat(200),
      cut: fc.nat(12),
      put: fc.constantFrom('', '"', '[', '}', ',', '0', 'null', '\n', '\\'),
    })
    fc.assert(
      fc.property(fc.array(damage, { minLength: 1, maxLength: 3 }), (damages) => {
        const [task, whole] = files[damages[0].file]
        const text = damages.reduce((rest, { at, cut, put }) => {
          const place = at % (rest.length + 1)
          return rest.slice(0, place) + put + rest.slice(place + cut)
        }, whole)
        try {
          for (const { stem } of read(task, text)) expect(typeof stem).toBe('string')
        } catch (error) {
          expect((error as Error).message).toMatch(/^sets\/questions(, line \d+( \(entry \d+\))?)?: [^\n]{5,300}$/)
        }
      }),
      { numRuns: 2000 },
    )
  })

  it('and one that is not there by its name', () => {
    expect(() => openDataFile('nowhere/gsm8k-test.jsonl')).toThrow('nowhere/gsm8k-test.jsonl: there is no such file')
    expect(() => openDataFile('tests')).toThrow('tests: cannot be read (EISDIR)')
  })
})

describe('names', () => {
  it('are those of tasks and groups, each once', () => {
    const names = [...TASKS.map(({ name }) => name), ...Object.keys(GROUPS)]
    expect(new Set(names).size).toBe(names.length)
    for (const members of Object.values(GROUPS)) for (const name of members) expect(findTask(name).name).toBe(name)
    expect(GROUPS.reasoning).toHaveLength(12)
    expect(() => findTask('chess')).toThrow("there is no task 'chess'; there are gsm8k, svamp,")
  })
})

describe('questions of a user with choices', () => {
  const file = (...entries: object[]) => ({ path: 'own.jsonl', text: lines(...entries) })
  const model = new ScriptedModel({ score: ({ continuation }) => ({ logProb: -continuation.length }) })
  const opening = { model, beside: () => file() }

  it('name the right one by number, letter or text', async () => {
    const choices = ['longer', 'short', 'C']
    const open = multipleChoice.open(
      file(...[1, 'B', 'short', 'C'].map((answer) => ({ question: 'Which?', choices, answer }))),
      {},
      opening,
    )
    const samples = await open.ask(model, [0, 1, 2, 3], {})
    // “C” is the shortest, and the last one's answer by its text.
    expect(samples.map(({ scores }) => scores['acc,none'])).toEqual([0, 0, 0, 1])
    expect(samples.map(({ target }) => target)).toEqual(['short', 'short', 'short', 'C'])
  })

  it('or are told to be wrong', () => {
    expect(() => multipleChoice.open(file({ question: 'a', choices: ['b', 'c'], answer: 2 }), {}, opening)).toThrow(
      'own.jsonl, line 1: "answer": is none of the choices, nor its number or letter',
    )
  })
})

describe.skipIf(lacksShared('data/reasoning/gsm8k-test.jsonl'))('the twelve data sets', () => {
  const SIZES: Record<string, number> = {
    ...{ gsm8k: 1319, svamp: 1000, multiarith: 600, addsub: 395, singleeq: 508, aqua: 254, commonsenseqa: 1221 },
    ...{ strategyqa: 2290, 'bigbench-date': 369, 'object-tracking': 750, 'coin-flip': 500, 'last-letters': 500 },
  }
  const tasks = [
    ...[gsm8k, svamp, multiarith, addsub, singleeq, aqua],
    ...[commonsenseqa, strategyqa, bigbenchDate, objectTracking, coinFlip, lastLetters],
  ]

  it.each(tasks.map((task) => [task.name, task] as const))('%s is read whole', (name, task) => {
    const path = sharedPath(`data/reasoning/${task.file}`)
    const questions = task.read({ path, text: readFileSync(path, 'utf8') })
    expect(questions).toHaveLength(SIZES[name])
    for (const question of questions) {
      expect(question.stem).not.toBe('')
      // What is right would be found right.
      expect(answersIn(question.answer, task.answer)).toEqual([question.answer])
      if (question.choices) expect(rightChoice(question, task.answer)).toBeGreaterThanOrEqual(0)
    }
  })
})
