import { useState } from 'react'
import { HeatMap } from './parts/heat-map.tsx'
import type { TabCausal } from './parts/tab-model.ts'
import { TextField } from './parts/text-field.tsx'
import { percent, spoken, visible } from './parts/token-text.ts'
import { useComputed } from './parts/use-computed.ts'
import { WithCausal } from './parts/with-causal.tsx'

const start = 'The captain looked at the whale, and the whale looked at the captain.'
const mostTokens = 64

/** The attention of every head over a text; one head at a time, from one token at a time. */
export default function Attention() {
  return <WithCausal>{(model) => <Maps model={model} />}</WithCausal>
}

function Maps({ model }: { model: TabCausal }) {
  const [text, setText] = useState(start)
  const [head, setHead] = useState<number | null>(null)
  const [query, setQuery] = useState<number | null>(null)
  const { value, error, busy } = useComputed(text, async () => {
    const ids = model.tokenizer.encode(text).slice(0, mostTokens)
    if (ids.length === 0) return null
    const { nHeads, layers } = await model.attention(ids)
    return { words: ids.map((id) => model.tokenizer.decode([id])), nHeads, layers }
  })
  return (
    <div className="demo-rows">
      <TextField label="Text" value={text} onChange={setText} />
      <div aria-busy={busy}>
        {error && <p role="alert">{error}</p>}
        {value === null && <p>Write something to read.</p>}
        {value && (
          <Shown
            {...value}
            head={head ?? mostTelling(value)}
            onHead={setHead}
            query={Math.min(query ?? Number.POSITIVE_INFINITY, value.words.length - 1)}
            onQuery={setQuery}
          />
        )}
      </div>
    </div>
  )
}

/** The head that looks the most sharply at something else than the first word and itself: one to begin with. */
function mostTelling({ words, nHeads, layers }: Pick<ShownProps, 'words' | 'nHeads' | 'layers'>): number {
  const seq = words.length
  const sharpness = layers.flatMap((layer) =>
    Array.from({ length: nHeads }, (_, head) => {
      let sum = 0
      for (let row = 2; row < seq; row++) {
        const from = (head * seq + row) * seq
        sum += Math.max(...layer.subarray(from + 1, from + row))
      }
      return sum
    }),
  )
  return sharpness.indexOf(Math.max(...sharpness))
}

interface ShownProps {
  words: readonly string[]
  nHeads: number
  /** Of each layer: [nHeads, seq, seq] */
  layers: readonly Float32Array[]
  /** Counted through all layers. */
  head: number
  onHead: (head: number) => void
  /** The position that looks. */
  query: number
  onQuery: (query: number) => void
}

function Shown({ words, nHeads, layers, head, onHead, query, onQuery }: ShownProps) {
  const seq = words.length
  const mapOf = (at: number) => {
    const from = (at % nHeads) * seq * seq
    return layers[Math.floor(at / nHeads)].subarray(from, from + seq * seq)
  }
  const map = mapOf(head)
  const weights = map.subarray(query * seq, (query + 1) * seq)
  const strongest = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 3)
  const nameOf = (at: number) => `layer ${Math.floor(at / nHeads) + 1}, head ${(at % nHeads) + 1}`
  return (
    <div className="attention">
      <div>
        <p className="fine-print">Every head, a row for each layer. Choose one:</p>
        <div className="heads" style={{ gridTemplateColumns: `repeat(${nHeads}, minmax(0, 1fr))` }}>
          {Array.from({ length: layers.length * nHeads }, (_, at) => (
            <button
              // biome-ignore lint/suspicious/noArrayIndexKey: a head is its place.
              key={at}
              type="button"
              className="head"
              aria-label={nameOf(at)}
              aria-pressed={at === head}
              title={nameOf(at)}
              onClick={() => onHead(at)}
            >
              <HeatMap values={mapOf(at)} columns={seq} />
            </button>
          ))}
        </div>
      </div>
      <div>
        <p className="fine-print">
          {nameOf(head)}: rows look, columns are looked at. Choose who looks; the stronger a word is marked, the more of
          it is taken.
        </p>
        <ol className="token-strip" aria-label="Who looks">
          {words.map((word, at) => (
            // biome-ignore lint/suspicious/noArrayIndexKey: a token is its place.
            <li key={at}>
              <button
                type="button"
                className="token token-look"
                aria-pressed={at === query}
                style={{ '--weight': `${Math.round(100 * Math.sqrt(weights[at]))}%` } as React.CSSProperties}
                onClick={() => onQuery(at)}
              >
                <code aria-hidden="true">{visible(word)}</code>
                <span className="visually-hidden">
                  {spoken(word)}, gets {percent(weights[at])}
                </span>
              </button>
            </li>
          ))}
        </ol>
        <p role="status" className="reading">
          “{visible(words[query])}” takes{' '}
          {strongest.map((at, i) => (
            <span key={at}>
              {i > 0 && ', '}
              {percent(weights[at])} of “{visible(words[at])}”
            </span>
          ))}
          .
        </p>
        <div className="map">
          <HeatMap values={map} columns={seq} row={query} />
        </div>
      </div>
    </div>
  )
}
