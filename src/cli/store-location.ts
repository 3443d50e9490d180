import { homedir } from 'node:os'
import { join } from 'node:path'
import { type Command, Option } from 'commander'
import type { StoreLocation } from '../server/store.ts'

/** Where the conversations are kept, as `serve` and whoever reads them takes it. */
export interface StoreFlags {
  data?: string
  databaseUrl?: string
}

export const databaseOption = (description: string): Option =>
  new Option('--database-url <url>', description).env('DATABASE_URL')

export function storeLocation({ data, databaseUrl }: StoreFlags, command: Command): StoreLocation {
  if (!databaseUrl) return { dataDir: data ?? defaultDataDir() }
  if (!data) return { databaseUrl }
  if (command.getOptionValueSource('databaseUrl') === 'cli') {
    throw new Error('--data and --database-url are two places for the conversations; give one of them.')
  }
  // DATABASE_URL may be there for another program: what is said on the command line counts.
  return { dataDir: data }
}

function defaultDataDir(): string {
  if (process.env.JACKDAW_HOME) return process.env.JACKDAW_HOME
  const shared =
    process.env.XDG_DATA_HOME ||
    (process.platform === 'win32' && process.env.LOCALAPPDATA) ||
    join(homedir(), '.local', 'share')
  return join(shared, 'jackdaw')
}
