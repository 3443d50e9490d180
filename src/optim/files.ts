import { mkdir, rename, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Writes a small file that is whole or as it was before, into a folder that is made where there is none. */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(`${path}.partial`, content)
  await rename(`${path}.partial`, path)
}

export const toJson = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`
