import { useQuery } from '@tanstack/react-query'
import { useId, useState } from 'react'
import type { TabModel } from '../../../src/server/wire.ts'
import { getStatus, listTabModels, postTokens } from '../client.ts'
import { QueryState } from '../shell/query-state.tsx'
import { openTokenizer } from './parts/tab-model.ts'
import { TextField } from './parts/text-field.tsx'
import { visible } from './parts/token-text.ts'
import { useComputed } from './parts/use-computed.ts'

const start = 'Jackdaws love my big sphinx of quartz: 12,345.67 coins, naïve café, 寒鴉, 🐦‍⬛!'

interface Token {
  id: number
  text: string
}

interface Source {
  name: string
  tokens: (text: string, signal: AbortSignal) => Promise<readonly Token[]>
}

/** The token strip of every tokenizer that is at hand: those of the models that are served, and of small ones. */
export default function Tokens() {
  const sources = useQuery({
    queryKey: ['tokenizers'],
    queryFn: async () => {
      const [{ models }, tab] = await Promise.all([getStatus(), listTabModels()])
      const served = models.map(
        ({ id }): Source => ({
          name: id,
          tokens: async (text, signal) => (await postTokens({ model: id, text }, signal)).tokens,
        }),
      )
      const own = tab.models.filter(
        ({ name, hasTokenizer }) => hasTokenizer && !served.some((one) => one.name === name),
      )
      return [...served, ...own.map(inTab)]
    },
  })
  return <QueryState query={sources}>{(all) => <Strip sources={all} />}</QueryState>
}

const inTab = (model: TabModel): Source => ({
  name: model.name,
  tokens: async (text) => {
    const tokenizer = await openTokenizer(model)
    return tokenizer.encode(text).map((id) => ({ id, text: tokenizer.decode([id]) }))
  },
})

function Strip({ sources }: { sources: readonly Source[] }) {
  const [name, setName] = useState(sources[0].name)
  const [text, setText] = useState(start)
  const select = useId()
  const source = sources.find((one) => one.name === name) ?? sources[0]
  const { value, error, busy } = useComputed(`${source.name} ${text}`, (signal) => source.tokens(text, signal))
  const letters = [...text].length
  return (
    <div className="demo-rows">
      <p className="demo-model">
        <label htmlFor={select}>Tokenizer of</label>
        <select id={select} className="select" value={source.name} onChange={(event) => setName(event.target.value)}>
          {sources.map((one) => (
            <option key={one.name}>{one.name}</option>
          ))}
        </select>
      </p>
      <TextField label="Text" value={text} rows={3} maxLength={4000} onChange={setText} />
      <div aria-busy={busy}>
        {error && <p role="alert">{error}</p>}
        {value && (
          <>
            <p className="fine-print" role="status">
              {value.length} tokens for {letters} characters
              {value.length > 0 && `: ${(letters / value.length).toFixed(1)} each`}
            </p>
            <ol className="token-strip" aria-label="Tokens">
              {value.map(({ id, text }, i) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: a token is its place.
                <li key={i} className={`token token-${i % 5}`}>
                  <code>{visible(text)}</code>
                  <span className="token-id">{id}</span>
                </li>
              ))}
            </ol>
            <p className="fine-print">A token may be a part of a character: it is shown as �.</p>
          </>
        )}
      </div>
    </div>
  )
}
