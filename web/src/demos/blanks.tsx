import { useQuery } from '@tanstack/react-query'
import { useId, useState } from 'react'
import type { TabModel } from '../../../src/server/wire.ts'
import { getPaper, listTabModels } from '../client.ts'
import { QueryState } from '../shell/query-state.tsx'
import { blankSign, type Choice, type Filler, type FillerKind, fillerKinds } from './parts/fillers.ts'
import { keyOf, loadTabModel } from './parts/tab-model.ts'
import { TextField } from './parts/text-field.tsx'
import { percent } from './parts/token-text.ts'
import { useComputed } from './parts/use-computed.ts'

const start = 'The people of the United ___ want peace, and the ___ of the country is growing.'

/** One text with blanks, filled by BERT, T5 and GLM side by side. */
export default function Blanks() {
  const listed = useQuery({ queryKey: ['tab-models'], queryFn: listTabModels })
  const [text, setText] = useState(start)
  return (
    <div className="demo-rows">
      <TextField label="Text, with ___ for each blank" value={text} onChange={setText} />
      <QueryState query={listed}>
        {({ models }) => (
          <div className="side-by-side">
            {fillerKinds.map((kind) => (
              <Column
                key={kind.name}
                kind={kind}
                models={models.filter((one) => one.hasTokenizer && kind.architecture.test(one.architecture))}
                text={text}
              />
            ))}
          </div>
        )}
      </QueryState>
    </div>
  )
}

interface ColumnProps {
  kind: FillerKind
  models: readonly TabModel[]
  text: string
}

function Column({ kind, models, text }: ColumnProps) {
  const [key, setKey] = useState<string | null>(null)
  const select = useId()
  const chosen = models.find((model) => keyOf(model) === key) ?? models[0]
  return (
    <section aria-label={kind.name}>
      <h4>{kind.name}</h4>
      <p className="fine-print">{kind.does}</p>
      {chosen === undefined ? (
        <HowToTrain kind={kind} />
      ) : (
        <>
          <p className="demo-model">
            <label htmlFor={select} className="visually-hidden">
              {kind.name} model
            </label>
            <select
              id={select}
              className="select"
              value={keyOf(chosen)}
              onChange={(event) => setKey(event.target.value)}
            >
              {models.map((one) => (
                <option key={keyOf(one)} value={keyOf(one)}>
                  {one.name}
                </option>
              ))}
            </select>
          </p>
          <Opened key={keyOf(chosen)} kind={kind} model={chosen} text={text} />
        </>
      )}
    </section>
  )
}

/** Where there is none yet. */
function HowToTrain({ kind: { name, slug } }: { kind: FillerKind }) {
  const paper = useQuery({ queryKey: ['paper', slug], queryFn: () => getPaper(slug) })
  const recipe = paper.data?.experiments[0]?.recipe
  return (
    <p>
      No small {name} is here yet.{' '}
      {recipe && (
        <>
          Train one, and it is: <code>jackdaw train {recipe}</code>
        </>
      )}
    </p>
  )
}

function Opened({ kind, model, text }: { kind: FillerKind; model: TabModel; text: string }) {
  const filler = useQuery({
    queryKey: ['filler', keyOf(model), model.bytes],
    queryFn: async () => kind.open(await loadTabModel(model)),
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  })
  return <QueryState query={filler}>{(opened) => <Filled filler={opened} text={text} />}</QueryState>
}

function Filled({ filler, text }: { filler: Filler; text: string }) {
  const { value, error, busy } = useComputed(
    text,
    async (signal): Promise<Choice[][]> => (text.match(blankSign) ? filler.fill(text, signal) : []),
  )
  return (
    <div aria-busy={busy}>
      {error && <p role="alert">{error}</p>}
      {value?.length === 0 && <p>Leave a blank: ___</p>}
      {value?.map((choices, blank) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: a blank is its place.
        <table key={blank} className="hypotheses">
          <caption>Blank {blank + 1}</caption>
          <tbody>
            {choices.map((choice) => (
              <tr key={choice.text}>
                <td>{choice.text.trim() || 'nothing'}</td>
                <td>{percent(choice.share)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      ))}
    </div>
  )
}
