import { useQuery } from '@tanstack/react-query'
import { type ReactNode, useId, useState } from 'react'
import type { TabModel } from '../../../../src/server/wire.ts'
import { listTabModels } from '../../client.ts'
import { QueryState } from '../../shell/query-state.tsx'
import { keyOf, openCausal, type TabCausal } from './tab-model.ts'

/** Architectures that continue text: whatever else a folder holds is for other demos. */
const causal = /(LMHeadModel|ForCausalLM)$/

interface WithCausalProps {
  children: (model: TabCausal) => ReactNode
}

/** A demo of a model in this tab: which one, and what it does once it is here. */
export function WithCausal({ children }: WithCausalProps) {
  const listed = useQuery({ queryKey: ['tab-models'], queryFn: listTabModels })
  return (
    <QueryState query={listed}>
      {({ models }) => {
        const fitting = models.filter(({ architecture, hasTokenizer }) => causal.test(architecture) && hasTokenizer)
        if (fitting.length === 0) {
          return (
            <p>
              No small model is here that continues text. Train one: <code>jackdaw train llama/jackdaw-base</code>
            </p>
          )
        }
        return <Choice models={fitting}>{children}</Choice>
      }}
    </QueryState>
  )
}

function Choice({ models, children }: WithCausalProps & { models: readonly TabModel[] }) {
  const [key, setKey] = useState(keyOf(models[0]))
  const select = useId()
  const chosen = models.find((model) => keyOf(model) === key) ?? models[0]
  const model = useQuery({
    queryKey: ['tab-model', keyOf(chosen), chosen.bytes],
    queryFn: () => openCausal(chosen),
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  })
  return (
    <>
      <p className="demo-model">
        {models.length === 1 ? (
          <strong>{chosen.name}</strong>
        ) : (
          <>
            <label htmlFor={select} className="visually-hidden">
              Model
            </label>
            <select
              id={select}
              className="select"
              value={keyOf(chosen)}
              onChange={(event) => setKey(event.currentTarget.value)}
            >
              {models.map((one) => (
                <option key={keyOf(one)} value={keyOf(one)}>
                  {one.name}
                </option>
              ))}
            </select>
          </>
        )}{' '}
        runs in this tab ({(chosen.bytes / 1e6).toFixed(1)} MB).
      </p>
      <QueryState query={model}>{children}</QueryState>
    </>
  )
}
