import { mkdirSync, writeFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { lacksOwnPostgres } from '../server/postgres-server.ts'
import { soak } from './soak.ts'

/** The long version is run by hand, with 200 clients (docs/reliability.md). */
const seconds = Number(process.env.JACKDAW_SOAK_SECONDS ?? 25)
const clients = Number(process.env.JACKDAW_SOAK_CLIENTS ?? 60)
const seed = Number(process.env.JACKDAW_SOAK_SEED ?? 8)
const reports = process.env.JACKDAW_SOAK_REPORTS

describe('under clients that misbehave, kills, restarts and a full disk', () => {
  const databases = lacksOwnPostgres() ? (['embedded'] as const) : (['embedded', 'server'] as const)

  it.each(databases)(
    'everything that was acknowledged is there, once and unchanged (%s)',
    async (database) => {
      const { figures, log, ...verdict } = await soak({ database, seconds, clients, seed })
      console.log(JSON.stringify(figures))
      if (reports) {
        mkdirSync(reports, { recursive: true })
        writeFileSync(`${reports}/${database}.json`, JSON.stringify({ figures, ...verdict }, null, 2))
        writeFileSync(`${reports}/${database}.log`, log)
      }
      expect(verdict).toEqual({ lost: [], altered: [], surplus: [], garbled: [], leaked: 0, deaths: 0 })
      expect(figures.acknowledged).toBeGreaterThan(0)
      expect(figures.activeAfter).toBe(0)
    },
    (2 * seconds + 180) * 1000,
  )
})
