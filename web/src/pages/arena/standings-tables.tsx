import type { Standings, Tally } from '../../../../src/server/wire.ts'
import { getFeedbackExport, messageOf } from '../../client.ts'
import { Icon } from '../../components/icon.tsx'
import { downloadFile } from '../../export.ts'
import { showToast } from '../../toast.ts'

/** Who wins how often, by the votes so far. */
export function StandingsTables({ standings: { comparisons, standings, duels } }: { standings: Standings }) {
  const shownDuels = standings.length > 2 ? duels : []
  return (
    <section className="standings" aria-labelledby="standings">
      <h2 id="standings">Standings</h2>
      {standings.length === 0 ? (
        <p className="fine-print">
          {comparisons === 0
            ? 'No votes yet.'
            : 'All votes so far were between answers of one model: another one gives it something to be compared with.'}
        </p>
      ) : (
        <Table
          label="Models"
          head="Model"
          rows={standings.map((one) => ({ ...one, name: one.contender, rating: Math.round(one.rating) }))}
        />
      )}
      {shownDuels.length > 0 && (
        <Table
          label="One against another"
          head="One against another"
          rows={duels.map((one) => ({ ...one, name: `${one.contenders[0]} against ${one.contenders[1]}` }))}
        />
      )}
      <p className="standings-foot">
        <span>{comparisons === 1 ? 'One comparison.' : `${comparisons} comparisons.`}</span>
        <button type="button" className="button" onClick={() => void save()}>
          <Icon name="download" />
          Download as JSONL
        </button>
      </p>
    </section>
  )
}

async function save(): Promise<void> {
  try {
    downloadFile('jackdaw-feedback.jsonl', await getFeedbackExport('all'))
  } catch (error) {
    showToast({ message: `Not downloaded: ${messageOf(error)}` })
  }
}

interface Row extends Tally {
  name: string
  rating?: number
}

function Table({ label, head, rows }: { label: string; head: string; rows: readonly Row[] }) {
  const hasRating = rows[0]?.rating !== undefined
  return (
    // biome-ignore lint/a11y/useSemanticElements: a fieldset is for forms.
    // biome-ignore lint/a11y/noNoninteractiveTabindex: wide tables scroll, so the keyboard must reach them.
    <div className="table-scroll standings-table" role="group" tabIndex={0} aria-label={label}>
      <table>
        <thead>
          <tr>
            <th scope="col">{head}</th>
            <th scope="col">Wins</th>
            <th scope="col">Losses</th>
            <th scope="col">Ties</th>
            <th scope="col">Win rate, 95 % interval</th>
            {hasRating && <th scope="col">Rating</th>}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ name, wins, losses, ties, winRate, interval, rating }) => (
            <tr key={name}>
              <th scope="row">{name}</th>
              <td>{wins}</td>
              <td>{losses}</td>
              <td>{ties}</td>
              <td>
                <WinRate value={winRate} interval={interval} />
              </td>
              {hasRating && <td>{rating}</td>}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  )
}

const percent = (share: number) => `${Math.round(100 * share)}`

/** `65 % (51 to 77)`, drawn too. */
export function WinRate({ value, interval: [low, high] }: { value: number; interval: readonly [number, number] }) {
  return (
    <span className="win-rate">
      <span className="win-rate-scale" aria-hidden="true">
        <span className="win-rate-range" style={{ left: `${100 * low}%`, width: `${100 * (high - low)}%` }} />
        <span className="win-rate-value" style={{ left: `${100 * value}%` }} />
      </span>
      {`${percent(value)} % (${percent(low)} to ${percent(high)})`}
    </span>
  )
}
