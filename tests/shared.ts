import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** A file of the folder `shared` that lies beside the checkout: reference models and data too large to ship. */
export const sharedPath = (path: string): string => fileURLToPath(new URL(`../../shared/${path}`, import.meta.url))

/** For `it.skipIf(...)`: says once, plainly, that what needs the file is skipped. */
export function lacksShared(path: string): boolean {
  const lacking = !existsSync(sharedPath(path))
  if (lacking) console.warn(`skipped: ../shared/${path} is not here`)
  return lacking
}
