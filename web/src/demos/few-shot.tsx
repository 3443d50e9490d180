import { useQuery } from '@tanstack/react-query'
import { useEffect, useId, useState } from 'react'
import { messageOf } from '../client.ts'
import { LineFigure } from '../components/line-figure.tsx'
import { QueryState } from '../shell/query-state.tsx'
import { mostExamples, promptsOf, type Task, tasks } from './parts/few-shot-tasks.ts'
import { RangeField } from './parts/range-field.tsx'
import { listScorers, type Scorer } from './parts/scorers.ts'
import { percent } from './parts/token-text.ts'

/** How probable the right answer becomes with more examples before the question. */
export default function FewShot() {
  const scorers = useQuery({ queryKey: ['scorers'], queryFn: listScorers })
  return (
    <QueryState query={scorers}>
      {(all) =>
        all.length === 0 ? (
          <p>
            No model is here that continues text. Serve one: <code>jackdaw serve --model jackdaw-base</code>
          </p>
        ) : (
          <Lab scorers={all} />
        )
      }
    </QueryState>
  )
}

/** Of each number of examples: the probability of the right answer to each question. */
type Curve = readonly (readonly number[])[]

/** One number of examples after another, so that the curve is seen to grow. */
function useCurve(scorer: Scorer, task: Task, shuffled: boolean): { curve: Curve; error: string | null } {
  const [state, setState] = useState<{ curve: Curve; error: string | null }>({ curve: [], error: null })
  useEffect(() => {
    const control = new AbortController()
    const { signal } = control
    setState({ curve: [], error: null })
    const work = async () => {
      for (let count = 0; count <= mostExamples; count++) {
        const scores = await scorer.score(promptsOf(task, count, shuffled), signal)
        if (signal.aborted) return
        setState(({ curve }) => ({ curve: [...curve, scores.map(Math.exp)], error: null }))
      }
    }
    work().catch((error: unknown) => {
      if (!signal.aborted) setState(({ curve }) => ({ curve, error: messageOf(error) }))
    })
    return () => control.abort()
  }, [scorer, task, shuffled])
  return state
}

const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length

function Lab({ scorers }: { scorers: readonly Scorer[] }) {
  const [name, setName] = useState(scorers[0].name)
  const [taskName, setTask] = useState(tasks[0].name)
  const [shuffled, setShuffled] = useState(false)
  const [count, setCount] = useState(2)
  const ids = useId()
  const scorer = scorers.find((one) => one.name === name) ?? scorers[0]
  const task = tasks.find((one) => one.name === taskName) ?? tasks[0]
  const { curve, error } = useCurve(scorer, task, shuffled)
  const [shown] = promptsOf(task, count, shuffled)
  const at = curve[count]
  return (
    <div className="demo-columns">
      <div className="demo-controls">
        <p className="demo-model">
          <label htmlFor={`${ids}-model`}>Model</label>
          <select id={`${ids}-model`} className="select" value={scorer.name} onChange={(e) => setName(e.target.value)}>
            {scorers.map((one) => (
              <option key={one.name}>{one.name}</option>
            ))}
          </select>
        </p>
        <p className="demo-model">
          <label htmlFor={`${ids}-task`}>Task</label>
          <select id={`${ids}-task`} className="select" value={task.name} onChange={(e) => setTask(e.target.value)}>
            {tasks.map((one) => (
              <option key={one.name}>{one.name}</option>
            ))}
          </select>
        </p>
        <RangeField label="K, examples" min={0} max={mostExamples} value={count} onChange={setCount} />
        <label className="check-field">
          <input type="checkbox" checked={shuffled} onChange={(event) => setShuffled(event.target.checked)} />
          Shuffled: each example has another’s answer
        </label>
        <pre className="listing">
          {shown.text}
          <mark>{shown.answer}</mark>
        </pre>
        <p role="status">
          {at
            ? `“${shown.answer.trim()}” has a probability of ${percent(at[0])} here; the mean of ${at.length} questions is ${percent(mean(at))}.`
            : 'Computing …'}
        </p>
      </div>
      <div>
        {error && <p role="alert">{error}</p>}
        <LineFigure
          label="Mean probability of the right answer by the number of examples"
          lines={{ '': curve.map((shares, k) => [k, mean(shares)] as const) }}
          xName="K, examples"
          xRange={[0, mostExamples]}
          showY={(share) => (share === 0 ? '0 %' : percent(share))}
          leastTop={0.1}
          marked={count}
        />
        <p className="fine-print">
          The smallest models learn next to nothing this way. A larger one:{' '}
          <code>jackdaw serve --model hf:HuggingFaceTB/SmolLM2-135M-Instruct</code>
        </p>
      </div>
    </div>
  )
}
