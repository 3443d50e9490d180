import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'
import { forwardCommand, gradCommand } from '../../src/cli/forward.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { writeSafetensors } from '../../src/hub/safetensors-write.ts'
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

describe('jackdaw forward and grad say which inputs are wrong', () => {
  const ids = { dtype: 'int32', shape: [1, 3], data: Int32Array.of(1, 2, 3) } as const
  const row = { dtype: 'float32', shape: [1, 3], data: new Float32Array(3) } as const
  const cases: [string, Parameters<typeof writeSafetensors>[1], string][] = [
    ['none', [['attention_mask', ids]], 'GPT2 needs input_ids (or inputs_embeds), got attention_mask'],
    [
      'unknown',
      [
        ['input_ids', ids],
        ['colour', row],
      ],
      'GPT2 does not take colour; it takes input_ids,',
    ],
    ['rank', [['input_ids', { ...ids, shape: [3] }]], 'GPT2: input_ids must be int32 [batch, seq], got int32 [3]'],
  ]
  it.each(cases)('%s', async (name, tensors, sentence) => {
    const [inputs, output] = [join(folder, `${name}.safetensors`), join(folder, 'o.safetensors')]
    await writeSafetensors(inputs, tensors)
    for (const command of [forwardCommand, gradCommand]) {
      const run = command().parseAsync([FIXTURE, '--inputs', inputs, '--output', output], { from: 'user' })
      await expect(run).rejects.toThrow(sentence)
    }
  })

  it('a loss that is asked for and not there', async () => {
    const [inputs, output] = [join(folder, 'unlabelled.safetensors'), join(folder, 'o.safetensors')]
    await writeSafetensors(inputs, [['input_ids', ids]])
    const run = gradCommand().parseAsync([FIXTURE, '--inputs', inputs, '--output', output], { from: 'user' })
    await expect(run).rejects.toThrow('GPT2 has no loss on input_ids: give it labels or shift_labels')
  })
})
