import { useState } from 'react'
import { type Hypothesis, searchBeams } from '../../../src/browser.ts'
import { BeamTree, type TreeNode } from './parts/beam-tree.ts'
import { RangeField } from './parts/range-field.tsx'
import type { TabCausal } from './parts/tab-model.ts'
import { TextField } from './parts/text-field.tsx'
import { percent, visible } from './parts/token-text.ts'
import { useComputed } from './parts/use-computed.ts'
import { WithCausal } from './parts/with-causal.tsx'

const start = 'The whale'

/** Beam search over a text's continuations, drawn as the tree that it is. */
export default function Beams() {
  return <WithCausal>{(model) => <Search model={model} />}</WithCausal>
}

interface Found {
  tree: BeamTree
  hypotheses: Hypothesis[]
}

async function search(
  model: TabCausal,
  text: string,
  nBeams: number,
  steps: number,
  lengthPenalty: number,
  signal: AbortSignal,
): Promise<Found | null> {
  const { tokenizer } = model
  const prompt = tokenizer.encode(text).slice(-(model.maxPositions - steps))
  if (prompt.length === 0) return null
  const tree = new BeamTree()
  let texts: number[][] = [prompt]
  const hypotheses = await searchBeams(
    await model.logits(texts),
    (tokens, order) => {
      signal.throwIfAborted()
      texts = tokens.map((id, i) => [...texts[order[i]], id])
      return model.logits(texts)
    },
    {
      ...{ nBeams, lengthPenalty, maxNewTokens: steps },
      stopTokenIds: tokenizer.eosTokenId === undefined ? [] : [tokenizer.eosTokenId],
      onStep: tree.add,
    },
  )
  if (hypotheses.length > 0) tree.mark(hypotheses[0])
  return { tree, hypotheses }
}

function Search({ model }: { model: TabCausal }) {
  const [text, setText] = useState(start)
  const [nBeams, setBeams] = useState(4)
  const [steps, setSteps] = useState(6)
  const [penalty, setPenalty] = useState(1)
  const { value, error, busy } = useComputed(`${nBeams} ${steps} ${penalty} ${text}`, (signal) =>
    search(model, text, nBeams, steps, penalty, signal),
  )
  const textOf = (id: number) => model.tokenizer.decode([id])
  return (
    <div className="demo-rows">
      <TextField label="Text" value={text} rows={1} onChange={setText} />
      <div className="demo-ranges">
        <RangeField label="Beams" min={1} max={6} value={nBeams} onChange={setBeams} />
        <RangeField label="Tokens" min={2} max={10} value={steps} onChange={setSteps} />
        <RangeField label="Length penalty" min={0} max={2} step={0.1} value={penalty} onChange={setPenalty} />
      </div>
      <div aria-busy={busy}>
        {error && <p role="alert">{error}</p>}
        {value === null && <p>Write how a text begins.</p>}
        {value && (
          <>
            <Tree tree={value.tree} textOf={textOf} />
            <table className="hypotheses">
              <caption>What was found, the best first</caption>
              <thead>
                <tr>
                  <th scope="col">Continuation</th>
                  <th scope="col">Score</th>
                </tr>
              </thead>
              <tbody>
                {value.hypotheses.map(({ ids, score }) => (
                  <tr key={ids.join()}>
                    <td>{model.tokenizer.decode(ids)}</td>
                    <td>{score.toFixed(2)}</td>
                  </tr>
                ))}
              </tbody>
            </table>
            <p className="fine-print">
              A score is the logarithm of the probability, divided by the length to the power of the penalty.
            </p>
          </>
        )}
      </div>
    </div>
  )
}

const [columnPx, rowPx, nodePx] = [118, 30, 92]

function Tree({ tree, textOf }: { tree: BeamTree; textOf: (id: number) => string }) {
  const { steps } = tree
  const rows = Math.max(...steps.map((nodes) => nodes.length))
  const [width, height] = [steps.length * columnPx + 20, rows * rowPx + 8]
  const xOf = (step: number) => 20 + (step - 1) * columnPx
  const yOf = (node: TreeNode | null) => {
    if (!node) return height / 2
    const own = steps[node.step - 1].length
    return (node.row + 0.5 + (rows - own) / 2) * rowPx + 4
  }
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, so the keyboard must reach it.
    <section className="tree" tabIndex={0} aria-label="The tree of the search">
      <svg
        width={width}
        height={height}
        viewBox={`0 0 ${width} ${height}`}
        role="img"
        aria-label="Each column is a step, each line leads to a token that was followed; the table below tells what was found."
      >
        {steps.flat().map((node) => {
          const [x, y] = [xOf(node.step), yOf(node)]
          const from = node.parent ? xOf(node.step - 1) + nodePx : 4
          const bend = (from + x) / 2
          return (
            <path
              key={`${node.step} ${node.row}`}
              className={node.isBest ? 'edge is-best' : 'edge'}
              d={`M${from} ${yOf(node.parent)}C${bend} ${yOf(node.parent)} ${bend} ${y} ${x} ${y}`}
            />
          )
        })}
        {steps.flat().map((node) => (
          <g key={`${node.step} ${node.row}`} className={node.isBest ? 'node is-best' : 'node'}>
            <title>{percent(Math.exp(node.score))}</title>
            <rect x={xOf(node.step)} y={yOf(node) - 11} width={nodePx} height={22} rx={5} />
            <text x={xOf(node.step) + 7} y={yOf(node) + 4}>
              {visible(textOf(node.id)).slice(0, 11)}
            </text>
          </g>
        ))}
      </svg>
    </section>
  )
}
