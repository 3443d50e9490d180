import { useQuery } from '@tanstack/react-query'
import { type KeyboardEvent, useEffect, useId, useRef, useState } from 'react'
import { type Actor, ActorCritic, cartPole, chooseAction, openActor, StepRandom } from '../../../src/browser.ts'
import type { TabModel } from '../../../src/server/wire.ts'
import { listTabModels } from '../client.ts'
import { QueryState } from '../shell/query-state.tsx'
import { useMedia } from '../use-media.ts'
import { drawCart } from './parts/cart-on-track.ts'
import { keyOf, loadTabNetwork } from './parts/tab-model.ts'

/** A policy of PPO that keeps a pole upright, played in this tab; the reader may push the pole. */
export default function CartPole() {
  const listed = useQuery({ queryKey: ['tab-models'], queryFn: listTabModels })
  return (
    <QueryState query={listed}>
      {({ models }) => {
        const policies = models.filter(({ architecture }) => architecture === 'ActorCritic')
        return policies.length > 0 ? (
          <Choice policies={policies} />
        ) : (
          <p>
            No policy is here yet. Train one: <code>jackdaw train ppo/cartpole</code>
          </p>
        )
      }}
    </QueryState>
  )
}

async function openPolicy(entry: TabModel): Promise<Actor> {
  const { model, weights } = await loadTabNetwork(entry)
  const { observationSize, actions } = cartPole
  if (!(model instanceof ActorCritic)) throw new Error(`${entry.name} is no policy`)
  const { nObservations, nActions, continuous } = model.config
  if (continuous || nObservations !== observationSize || nActions !== actions.count) {
    throw new Error(`${entry.name} acts in another world: choose one that was trained on CartPole`)
  }
  return openActor(model, weights, 1)
}

function Choice({ policies }: { policies: readonly TabModel[] }) {
  const [key, setKey] = useState(keyOf(policies[0]))
  const id = useId()
  const chosen = policies.find((policy) => keyOf(policy) === key) ?? policies[0]
  const actor = useQuery({
    queryKey: ['policy', keyOf(chosen), chosen.bytes],
    queryFn: () => openPolicy(chosen),
    staleTime: Number.POSITIVE_INFINITY,
    retry: false,
  })
  return (
    <>
      <p className="demo-model">
        <label htmlFor={id}>Policy</label>
        <select id={id} className="select" value={keyOf(chosen)} onChange={(event) => setKey(event.target.value)}>
          {policies.map((policy) => (
            <option key={keyOf(policy)} value={keyOf(policy)}>
              {policy.name}
            </option>
          ))}
        </select>
      </p>
      <QueryState query={actor}>{(ready) => <Track key={keyOf(chosen)} actor={ready} />}</QueryState>
    </>
  )
}

/** Of a step: the world's own. */
const stepMs = 20
/** What a push adds to the pole's speed, in radians a second. */
const push = 0.6
/** How long a fallen pole lies there. */
const fallenMs = 800

/** A world in motion, apart from React: fifty steps a second are not fifty renderings. */
class Play {
  readonly state = new Float64Array(cartPole.stateSize)
  steps = 0
  fallen = false
  acts = true
  private episodes = 0

  constructor(private readonly actor: Actor) {
    this.begin()
  }

  begin(): void {
    cartPole.reset(this.state, 0, new StepRandom(Date.now(), this.episodes++))
    this.steps = 0
    this.fallen = false
  }

  push(direction: 1 | -1): void {
    this.state[3] += direction * push
  }

  async step(): Promise<void> {
    cartPole.observe(this.state, 0, this.actor.observations, 0)
    await this.actor.act()
    const { action } = chooseAction(cartPole.actions, this.actor.distribution, 0)
    this.fallen = cartPole.step(this.state, 0, this.acts ? action : Math.random() < 0.5 ? 0 : 1).terminated
    this.steps++
  }
}

function Track({ actor }: { actor: Actor }) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const still = useMedia('(prefers-reduced-motion: reduce)')
  const [play] = useState(() => new Play(actor))
  const [running, setRunning] = useState(!still)
  const [acts, setActs] = useState(true)
  const [steps, setSteps] = useState(0)
  const [said, setSaid] = useState('')

  const show = () => {
    if (canvas.current) drawCart(canvas.current, play.state)
    // In motion, no more often than can be read.
    if (!running || play.fallen || play.steps % 10 === 0) setSteps(play.steps)
  }
  const step = async () => {
    if (play.fallen) play.begin()
    await play.step()
    if (play.fallen) setSaid(`Over after ${play.steps} steps.`)
    show()
  }
  const pushed = (direction: 1 | -1) => {
    play.push(direction)
    setSaid(`Pushed to the ${direction < 0 ? 'left' : 'right'} at step ${play.steps}.`)
    show()
  }
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is drawn is read where it lies
  useEffect(() => {
    show()
    if (!running) return
    let timer: ReturnType<typeof setTimeout>
    let gone = false
    let due = performance.now()
    const next = async () => {
      await step()
      if (gone) return
      // A tab that was away does not catch up.
      due = Math.max(due + stepMs, performance.now())
      timer = setTimeout(next, play.fallen ? fallenMs : due - performance.now())
    }
    timer = setTimeout(next, stepMs)
    return () => {
      gone = true
      clearTimeout(timer)
    }
  }, [running, play])

  const onKeyDown = (event: KeyboardEvent) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return
    event.preventDefault()
    pushed(event.key === 'ArrowLeft' ? -1 : 1)
  }
  const leaning = `${Math.abs((play.state[2] * 180) / Math.PI).toFixed(0)}°`
  return (
    <div className="demo-controls">
      <canvas
        ref={canvas}
        className="cart-track"
        role="img"
        aria-label={`A pole on a cart. Step ${steps}, leaning by ${leaning}`}
      />
      <p className="demo-buttons">
        {/* The arrow keys push where any of these has the focus. */}
        <button type="button" className="button" onClick={() => pushed(-1)} onKeyDown={onKeyDown}>
          ← Push
        </button>
        <button type="button" className="button" onClick={() => pushed(1)} onKeyDown={onKeyDown}>
          Push →
        </button>
        <button type="button" className="button" onClick={() => setRunning(!running)} onKeyDown={onKeyDown}>
          {running ? 'Pause' : 'Play'}
        </button>
        <button type="button" className="button" disabled={running} onClick={() => void step()} onKeyDown={onKeyDown}>
          One step
        </button>
      </p>
      <label className="check-field">
        <input
          type="checkbox"
          checked={acts}
          onChange={(event) => {
            play.acts = event.target.checked
            setActs(event.target.checked)
          }}
        />
        The policy acts; otherwise the cart is driven at random
      </label>
      <p>
        Step {steps}. <span role="status">{said}</span>
      </p>
      <p className="fine-print">The arrow keys ← and → push the pole, too, while a button has the focus.</p>
    </div>
  )
}
