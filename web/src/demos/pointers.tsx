import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { type AnsweredWord, Mqan, QuestionAnswerer } from '../../../src/browser.ts'
import type { TabModel } from '../../../src/server/wire.ts'
import { getPaper, listTabModels } from '../client.ts'
import { QueryState } from '../shell/query-state.tsx'
import { keyOf, loadTabModel } from './parts/tab-model.ts'
import { TextField } from './parts/text-field.tsx'
import { percent } from './parts/token-text.ts'
import { useComputed } from './parts/use-computed.ts'
import { wordIds, wordsOf } from './parts/words.ts'

const facts = 'ada has three red coins ben has five blue stones zoe has two white keys'
const asked = 'who has the white keys ?'

/** Where each word of MQAN's answer comes from: its vocabulary, the context, or the question. */
export default function Pointers() {
  const listed = useQuery({ queryKey: ['tab-models'], queryFn: listTabModels })
  return (
    <QueryState query={listed}>
      {({ models }) => {
        const model = models.find(
          ({ architecture, hasTokenizer }) => hasTokenizer && architecture === 'MultitaskQuestionAnsweringNetwork',
        )
        return model ? <Opened model={model} /> : <HowToTrain />
      }}
    </QueryState>
  )
}

function HowToTrain() {
  const paper = useQuery({ queryKey: ['paper', 'decanlp'], queryFn: () => getPaper('decanlp') })
  const recipe = paper.data?.experiments[0]?.recipe
  return (
    <p>
      No small MQAN is here yet.{' '}
      {recipe && (
        <>
          Train one, and it is: <code>jackdaw train {recipe}</code>
        </>
      )}
    </p>
  )
}

interface Asker {
  ask(context: string, question: string, signal: AbortSignal): Promise<readonly (AnsweredWord & { text: string })[]>
}

async function openAsker(entry: TabModel): Promise<Asker> {
  const { model, weights, tokenizer } = await loadTabModel(entry)
  if (!(model instanceof Mqan)) throw new Error(`${entry.name} is no MQAN`)
  const answerer = await QuestionAnswerer.create(model, weights)
  const { vocabSize, extraWords } = model.config
  return {
    async ask(context, question, signal) {
      const { ids, textOf } = wordIds([context, question], (word) => tokenizer.idOf(word), vocabSize, extraWords)
      const [contextIds, questionIds] = ids
      if (contextIds.length === 0 || questionIds.length === 0) return []
      const [{ words }] = await answerer.answer([{ contextIds, questionIds }], signal)
      return words.map((word) => ({ ...word, text: textOf(word.id) ?? tokenizer.tokenOf(word.id) ?? '?' }))
    },
  }
}

function Opened({ model }: { model: TabModel }) {
  const asker = useQuery({
    queryKey: ['asker', keyOf(model), model.bytes],
    queryFn: () => openAsker(model),
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  })
  return (
    <>
      <p className="demo-model">
        <strong>{model.name}</strong> runs in this tab ({(model.bytes / 1e6).toFixed(1)} MB).
      </p>
      <QueryState query={asker}>{(opened) => <Asked asker={opened} />}</QueryState>
    </>
  )
}

function Asked({ asker }: { asker: Asker }) {
  const [context, setContext] = useState(facts)
  const [question, setQuestion] = useState(asked)
  const [chosen, setChosen] = useState(0)
  const { value, error, busy } = useComputed(`${context}\n${question}`, async (signal) => ({
    ...{ context, question },
    answer: await asker.ask(context, question, signal),
  }))
  const word = value?.answer[Math.min(chosen, value.answer.length - 1)]
  return (
    <div className="demo-rows">
      <TextField label="Context" value={context} onChange={setContext} />
      <TextField label="Question" value={question} rows={1} onChange={setQuestion} />
      <div aria-busy={busy} className="demo-rows">
        {error && <p role="alert">{error}</p>}
        {value && !word && <p>It says nothing.</p>}
        {value && word && (
          <>
            <div>
              <p className="fine-print">The answer. Choose a word to see where it comes from:</p>
              <ol className="token-strip" aria-label="Answer">
                {value.answer.map(({ text }, at) => (
                  // biome-ignore lint/suspicious/noArrayIndexKey: a word is its place.
                  <li key={at}>
                    <button
                      type="button"
                      className="token token-look"
                      aria-pressed={text === word.text && word === value.answer[at]}
                      onClick={() => setChosen(at)}
                    >
                      {text}
                    </button>
                  </li>
                ))}
              </ol>
            </div>
            <p role="status">
              “{word.text}”, {percent(word.probability)}: {percent(word.gamma)} out of the vocabulary,{' '}
              {percent((1 - word.gamma) * word.lambda)} copied from the context, and{' '}
              {percent((1 - word.gamma) * (1 - word.lambda))} from the question.
            </p>
            <Pointed name="Context" words={wordsOf(value.context)} weights={word.contextAttention} />
            <Pointed name="Question" words={wordsOf(value.question)} weights={word.questionAttention} />
          </>
        )}
      </div>
    </div>
  )
}

interface PointedProps {
  name: string
  words: readonly string[]
  weights: readonly number[]
}

function Pointed({ name, words, weights }: PointedProps) {
  return (
    <div>
      <p className="fine-print">{name}: the stronger a word is marked, the more it is pointed at.</p>
      <ol className="token-strip" aria-label={`${name}, pointed at`}>
        {words.map((word, at) => (
          <li
            // biome-ignore lint/suspicious/noArrayIndexKey: a word is its place.
            key={at}
            className="token token-look"
            style={{ '--weight': `${Math.round(100 * Math.sqrt(weights[at] ?? 0))}%` } as React.CSSProperties}
          >
            {word}
            <span className="token-id">{percent(weights[at] ?? 0)}</span>
          </li>
        ))}
      </ol>
    </div>
  )
}
