import { useState } from 'react'
import { largestIds, logSumExp } from '../../../src/browser.ts'
import { RangeField } from './parts/range-field.tsx'
import type { TabCausal } from './parts/tab-model.ts'
import { TextField } from './parts/text-field.tsx'
import { percent, spoken, visible } from './parts/token-text.ts'
import { useComputed } from './parts/use-computed.ts'
import { WithCausal } from './parts/with-causal.tsx'

const shown = 12
const start = 'The old lighthouse keeper opened the door and saw'

/** Probability bars over the next token; pressing one appends it. */
export default function NextToken() {
  return <WithCausal>{(model) => <Bars model={model} />}</WithCausal>
}

interface Choice {
  id: number
  text: string
  logit: number
}

function Bars({ model }: { model: TabCausal }) {
  const [text, setText] = useState(start)
  const [temperature, setTemperature] = useState(1)
  const { value, error, busy } = useComputed(text, async () => {
    const ids = model.tokenizer.encode(text).slice(-model.maxPositions)
    if (ids.length === 0) return null
    const logits = await model.logits([ids])
    const best = largestIds(logits, shown).map(
      (id): Choice => ({
        id,
        text: model.tokenizer.decode([...ids, id]).slice(model.tokenizer.decode(ids).length),
        logit: logits[id],
      }),
    )
    return { logits, best }
  })

  const scaled = value?.logits.map((logit) => logit / temperature)
  const total = scaled ? logSumExp(scaled) : 0
  const bits = scaled?.reduce((sum, logit) => sum - Math.exp(logit - total) * ((logit - total) / Math.LN2), 0)
  const share = ({ logit }: Choice) => Math.exp(logit / temperature - total)
  const rest = value ? 1 - value.best.reduce((sum, choice) => sum + share(choice), 0) : 0
  return (
    <div className="demo-columns">
      <div className="demo-controls">
        <TextField label="Text" value={text} rows={4} onChange={setText} />
        <RangeField label="Temperature" min={0.1} max={2} step={0.1} value={temperature} onChange={setTemperature} />
        <p className="fine-print">
          {bits !== undefined && (
            <>
              {bits.toFixed(1)} bits of surprise on average: as many as {Math.round(2 ** bits).toLocaleString('en')}{' '}
              equally likely tokens.
            </>
          )}
        </p>
        <p>
          <button type="button" className="button" disabled={text === start} onClick={() => setText(start)}>
            Begin again
          </button>
        </p>
      </div>
      <div aria-busy={busy}>
        {error && <p role="alert">{error}</p>}
        {value === null && <p>Write how a text begins.</p>}
        {value && (
          <>
            <ol className="bars" aria-label="What may come next, the likeliest first">
              {value.best.map((choice) => (
                <li key={choice.id}>
                  <button type="button" className="bar" onClick={() => setText(text + choice.text)}>
                    <code aria-hidden="true">{visible(choice.text)}</code>
                    <span className="visually-hidden">{spoken(choice.text)}, </span>
                    <span className="bar-track">
                      <span className="bar-fill" style={{ width: `${100 * share(choice)}%` }} />
                    </span>
                    <span className="bar-value">{percent(share(choice))}</span>
                  </button>
                </li>
              ))}
            </ol>
            <p className="fine-print">
              All {(model.vocabSize - value.best.length).toLocaleString('en')} others: {percent(rest)}
            </p>
          </>
        )}
      </div>
    </div>
  )
}
