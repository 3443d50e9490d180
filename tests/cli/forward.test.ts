import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'
import { forwardCommand, gradCommand } from '../../src/cli/forward.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { PARITY_TOLERANCE, relativeError } from '../parity/parity.ts'

const FIXTURE = fileURLToPath(new URL('../parity/gpt2', import.meta.url))
const folder = mkdtempSync(join(tmpdir(), 'jackdaw-forward-'))
afterAll(() => rmSync(folder, { recursive: true }))

const cases = [
  { command: forwardCommand, reference: 'outputs' },
  { command: gradCommand, reference: 'grads' },
]

for (const { command, reference } of cases) {
  it(`jackdaw ${command().name()} writes the reference's tensors under the reference's names`, async () => {
    const output = join(folder, `${reference}.safetensors`)
    await command().parseAsync([FIXTURE, '--inputs', `${FIXTURE}/inputs.safetensors`, '--output', output], {
      from: 'user',
    })
    const [actual, expected] = [readTensors(output), readTensors(`${FIXTURE}/${reference}.safetensors`)]
    const wrong = Object.keys(expected).filter((name) => relativeError(actual[name], expected[name]) > PARITY_TOLERANCE)
    expect(wrong).toEqual([])
  })
}

it('jackdaw forward says in one sentence what it cannot open', async () => {
  const args = [FIXTURE, '--inputs', join(folder, 'none.safetensors'), '--output', join(folder, 'o.safetensors')]
  await expect(forwardCommand().parseAsync(args, { from: 'user' })).rejects.toThrow(/none\.safetensors/)
})
