import { StepRandom } from '../data/random.ts'
import { chainOfThoughtPrompt, reasonByExample } from '../prompt/chain-of-thought.ts'
import type { Exemplar } from '../prompt/exemplars.ts'
import { ANSWER_CONTEXT, choiceRequests, compareChoices, fewShotPrompt } from '../prompt/few-shot.ts'
import type { LanguageModel, WorkOptions } from '../prompt/language-model.ts'
import { reasoningPrompt, zeroShotAnswer, zeroShotPrompt, zeroShotReason } from '../prompt/zero-shot-cot.ts'
import type { DataFile } from './data-file.ts'
import { type Question, type ReasoningTask, rightChoice } from './reasoning.ts'
import { randomBaseline } from './scaling.ts'
import { type AskSettings, type Opening, type OpenTask, type Sample, share, type Task } from './task.ts'

const DEFAULT_SEED = 1337
/** Tokens of an answer, and of its reasoning. */
const ANSWER_TOKENS = 32
const REASONING_TOKENS = 128

/** Questions, and what stands before each. */
interface Asked {
  readonly questions: readonly Question[]
  readonly demonstrations: readonly Question[]
}

/** A data set on reasoning as the harness asks it. */
export const asTask = (task: ReasoningTask): Task => ({
  ...{ name: task.name, about: task.about, source: task.source, version: task.version, file: task.file },
  open(file, settings, opening) {
    const { prompt = 'direct', samples = 1 } = settings
    if (samples > 1 && prompt !== 'cot') throw new Error('several samples are drawn of chains of thought: --prompt cot')
    switch (prompt) {
      case 'direct': {
        const asked = withDemonstrations(task, file, settings, opening)
        return asked.questions.every(({ choices }) => choices)
          ? byLikelihood(task, asked, settings)
          : byAnswer(task, asked, settings)
      }
      case 'generate':
        return byAnswer(task, withDemonstrations(task, file, settings, opening), settings)
      case 'cot':
        return byChains(task, task.read(file), settings)
      case 'zero-shot-cot':
        return byZeroShotChains(task, task.read(file), settings)
    }
  },
})

/** K demonstrations, the same for all questions: what they share is computed once. */
function withDemonstrations(
  task: ReasoningTask,
  file: DataFile,
  { numFewshot = 0, seed = DEFAULT_SEED }: AskSettings,
  { beside }: Opening,
): Asked {
  const questions = task.read(file)
  if (numFewshot === 0) return { questions, demonstrations: [] }
  const pool = task.demonstrationFile === undefined ? questions : task.read(beside(task.demonstrationFile))
  const least = pool === questions ? numFewshot + 1 : numFewshot
  if (pool.length < least) {
    throw new Error(`${task.name} has ${pool.length} questions: too few for ${numFewshot} demonstrations`)
  }
  const drawn = new Set(new StepRandom(seed, 0).permutation(pool.length).subarray(0, numFewshot))
  const demonstrations = Array.from(drawn, (i) => pool[i])
  return { questions: pool === questions ? questions.filter((_, i) => !drawn.has(i)) : questions, demonstrations }
}

/** Choices by their likelihood after the question: the whole, that of a character, of a token. */
function byLikelihood(task: ReasoningTask, { questions, demonstrations }: Asked, settings: AskSettings): OpenTask {
  const shown = demonstrations.map((question) => ({
    input: question.stem,
    output: question.choices?.[rightChoice(question, task.answer)] ?? question.answer,
  }))
  const promptOf = ({ stem }: Question): string => fewShotPrompt(stem, shown)
  return {
    ...common(task, questions, demonstrations.length, settings),
    outputType: 'multiple_choice',
    metrics: CHOICE_METRICS.filter(({ name }) => name !== 'acc_mutual_info' || settings.unconditional),
    ask: (model, items, work) =>
      askChoices(
        model,
        items.map((item) => {
          const { choices = [], ...question } = questions[item]
          const right = rightChoice(questions[item], task.answer)
          return {
            item,
            doc: questions[item],
            prompt: promptOf(questions[item]),
            choices,
            right,
            target: question.answer,
          }
        }),
        settings,
        work,
      ),
  }
}

export const CHOICE_METRICS = ['acc', 'acc_norm', 'acc_per_token', 'acc_mutual_info'].map((name) => share(name))

/** A question with choices, ready to be asked. */
export interface ChoiceItem {
  readonly item: number
  readonly doc: unknown
  readonly prompt: string
  readonly choices: readonly string[]
  readonly right: number
  readonly target: string
}

/** Asks for the likelihoods of choices, and compares them in every way at once. */
export async function askChoices(
  model: LanguageModel,
  asked: readonly ChoiceItem[],
  { unconditional }: AskSettings,
  work: WorkOptions,
): Promise<Sample[]> {
  const context = unconditional ? ANSWER_CONTEXT : undefined
  const scores = await model.logLikelihoods(
    asked.flatMap((question) => choiceRequests(question, context)),
    work,
  )
  return asked.map(({ item, doc, prompt, choices, right, target }) => {
    const given = scores.splice(0, choices.length)
    const alone = context === undefined ? [] : scores.splice(0, choices.length)
    const isRight = (normalization: 'none' | 'characters' | 'tokens' | 'unconditional'): number =>
      compareChoices(choices, given, normalization, alone).best === right ? 1 : 0
    return {
      ...{ doc_id: item, doc, target, arguments: [prompt, ...choices] },
      resps: given.map(({ logProb, isGreedy }) => [logProb, isGreedy]),
      filtered_resps: [choices[compareChoices(choices, given, 'none').best]],
      scores: {
        'acc,none': isRight('none'),
        'acc_norm,none': isRight('characters'),
        'acc_per_token,none': isRight('tokens'),
        ...(context === undefined ? {} : { 'acc_mutual_info,none': isRight('unconditional') }),
      },
    }
  })
}

/** A short answer, after demonstrations or the request for one. */
function byAnswer(task: ReasoningTask, { questions, demonstrations }: Asked, settings: AskSettings): OpenTask {
  const { maxNewTokens = ANSWER_TOKENS } = settings
  const exemplars = demonstrations.map(({ question, answer }) => ({
    ...{ question, rationale: '', answer: task.answer.kind === 'choice' ? `(${answer})` : answer },
  }))
  return {
    ...common(task, questions, demonstrations.length, { ...settings, maxNewTokens }),
    outputType: 'generate_until',
    metrics: [share('exact_match')],
    async ask(model, items, work) {
      const texts = items.map((item) => questions[item].question)
      if (exemplars.length === 0) {
        const answers = await zeroShotAnswer(model, texts, task.answer, { maxAnswerTokens: maxNewTokens, ...work })
        return answers.map(({ text, answer }, i) =>
          answered(items[i], questions[items[i]], zeroShotPrompt(texts[i], task.answer), [text], answer),
        )
      }
      const options = { style: 'standard', maxNewTokens, ...work } as const
      const answers = await reasonByExample(model, texts, exemplars, task.answer, options)
      return answers.map(({ texts: said, answer }, i) =>
        answered(items[i], questions[items[i]], chainOfThoughtPrompt(texts[i], exemplars, 'standard'), said, answer),
      )
    },
  }
}

/** Reasoning after exemplars, alone or by the majority of samples. */
function byChains(task: ReasoningTask, questions: readonly Question[], settings: AskSettings): OpenTask {
  const { numFewshot = task.exemplars.length, samples = 1, seed = DEFAULT_SEED, temperature } = settings
  const { maxNewTokens = REASONING_TOKENS } = settings
  if (numFewshot < 1 || numFewshot > task.exemplars.length) {
    const some = `1 to ${task.exemplars.length}`
    throw new Error(`${task.name} has ${task.exemplars.length} chains of thought to show: --num-fewshot takes ${some}`)
  }
  const exemplars: readonly Exemplar[] = task.exemplars.slice(0, numFewshot)
  const majority = `maj@${samples}`
  return {
    ...common(task, questions, numFewshot, { ...settings, maxNewTokens }),
    outputType: 'generate_until',
    metrics: samples === 1 ? [share('exact_match')] : [share('exact_match', majority), share('exact_match')],
    async ask(model, items, work) {
      const texts = items.map((item) => questions[item].question)
      const options = { samples, seed, maxNewTokens, streams: items, ...work }
      const drawing = temperature === undefined ? options : { ...options, temperature }
      const answers = await reasonByExample(model, texts, exemplars, task.answer, drawing)
      return answers.map(({ texts: said, answers: all, answer }, i) => {
        const question = questions[items[i]]
        const sample = answered(items[i], question, chainOfThoughtPrompt(texts[i], exemplars), said, answer)
        if (samples === 1) return sample
        const right = all.filter((one) => one === question.answer).length / samples
        return {
          ...sample,
          scores: { [`exact_match,${majority}`]: sample.scores['exact_match,none'], 'exact_match,none': right },
        }
      })
    },
  }
}

/** “Let’s think step by step.”, and then the answer. */
function byZeroShotChains(task: ReasoningTask, questions: readonly Question[], settings: AskSettings): OpenTask {
  const { maxNewTokens = REASONING_TOKENS } = settings
  if (settings.numFewshot)
    throw new Error('zero-shot chains of thought take no demonstrations: leave --num-fewshot out')
  return {
    ...common(task, questions, 0, { ...settings, maxNewTokens }),
    outputType: 'generate_until',
    metrics: [share('exact_match')],
    async ask(model, items, work) {
      const texts = items.map((item) => questions[item].question)
      const answers = await zeroShotReason(model, texts, task.answer, { maxReasoningTokens: maxNewTokens, ...work })
      return answers.map(({ reasoning, text, answer }, i) =>
        answered(items[i], questions[items[i]], reasoningPrompt(texts[i]), [reasoning, text], answer),
      )
    },
  }
}

const common = (task: ReasoningTask, questions: readonly Question[], numFewshot: number, settings: AskSettings) => ({
  ...{ size: questions.length, numFewshot },
  chance: randomBaseline(questions.map(({ choices }) => choices?.length ?? Number.POSITIVE_INFINITY)) || undefined,
  config: { ...settings, prompt: settings.prompt ?? 'direct', answer: task.answer, source: task.source },
})

const answered = (
  item: number,
  question: Question,
  prompt: string,
  said: readonly string[],
  answer: string,
): Sample => ({
  ...{ doc_id: item, doc: question, target: question.answer, arguments: [prompt], resps: said },
  filtered_resps: [answer],
  scores: { 'exact_match,none': answer === question.answer ? 1 : 0 },
})
