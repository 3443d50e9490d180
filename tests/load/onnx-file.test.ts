import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import fc from 'fast-check'
import onnxProto from 'onnx-proto'
import { InferenceSession, Tensor } from 'onnxruntime-node'
import { afterAll, expect, it } from 'vitest'
import { convertModel } from '../../src/hub/convert.ts'
import { openCheckpoint } from '../../src/hub/open.ts'
import { readTensors } from '../../src/hub/safetensors.ts'
import { loadModel } from '../../src/load/load.ts'
import { exportOnnx, openOnnx } from '../../src/load/onnx-file.ts'
import { onnxWeights, withText } from '../../src/runtime/onnx-weights.ts'
import '../../src/runtime/node.ts'
import { PARITY_TOLERANCE, relativeError } from '../parity/parity.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const folder = mkdtempSync(join(tmpdir(), 'jackdaw-onnx-'))
afterAll(() => rmSync(folder, { recursive: true }))
const llama = sharedPath('parity/llama')

it.skipIf(lacksShared('parity/llama'))(
  'an exported model gives the reference logits in plain ONNX Runtime',
  async () => {
    const path = join(folder, 'llama.onnx')
    await exportOnnx(llama, path)
    const session = await InferenceSession.create(path)
    const inputs = readTensors(`${llama}/inputs.safetensors`)
    const ids = Int32Array.from(inputs.input_ids.data as BigInt64Array, Number)
    const { logits } = await session.run({ inputIds: new Tensor('int32', ids, [...inputs.input_ids.shape]) })
    const reference = readTensors(`${llama}/outputs.safetensors`).logits
    const actual = { dtype: 'float32' as const, shape: [...logits.dims], data: logits.data as Float32Array }
    // The reference masks padding at the end of its first row: compare the row without any.
    const row = reference.data.length / 2
    const half = (t: typeof actual) => ({ ...t, shape: [row], data: t.data.slice(row) })
    expect(relativeError(half(actual), half(reference as typeof actual))).toBeLessThan(PARITY_TOLERANCE)
  },
)

it.skipIf(lacksShared('parity/llama'))('an exported model gives its weights back under their names', async () => {
  const path = join(folder, 'weights.onnx')
  await exportOnnx(llama, path)
  const [exported, original] = [openOnnx(path), openCheckpoint(llama)]
  expect(exported.names().sort()).toEqual(original.names().sort())
  for (const name of original.names()) expect(exported.read(name)).toEqual(original.read(name))
})

it.skipIf(lacksShared('parity/llama'))('damaged files are read consistently or refused in one line', async () => {
  const path = join(folder, 'damaged.onnx')
  await exportOnnx(llama, path)
  const whole = readFileSync(path)
  fc.assert(
    fc.property(fc.nat(whole.length - 1), fc.nat(255), fc.boolean(), (at, byte, cut) => {
      const bytes = cut ? whole.subarray(0, at) : Uint8Array.from(whole)
      if (!cut) bytes[at] = byte
      try {
        for (const { bytes: data, shape } of onnxWeights(bytes, 'model.onnx'))
          expect(
            data.length %
              Math.max(
                shape.reduce((a, b) => a * b, 1),
                1,
              ),
          ).toBe(0)
      } catch (error) {
        expect((error as Error).message).toMatch(/^model\.onnx: [^\n]+$/)
      }
    }),
    { numRuns: 200 },
  )
  writeFileSync(path, 'no model at all')
  expect(() => openOnnx(path)).toThrow(/is not an ONNX file/)
})

it('names and shapes of any length are refused in one short line', () => {
  const model = (tensor: object) => onnxProto.onnx.ModelProto.encode({ graph: { initializer: [tensor] } }).finish()
  const rawData = new Uint8Array(16)
  for (const tensor of [
    { name: 'a\n'.repeat(5000), dataType: 99, dims: [4], rawData },
    { name: 'a\n'.repeat(5000), dataType: 1, dims: Array(5000).fill(3), rawData },
    { name: 'a', dataType: 1, dims: [-2, -2], rawData },
  ]) {
    expect(() => onnxWeights(model(tensor), 'model.onnx')).toThrow(/^model\.onnx: weight 'a.{0,200}$/)
  }
})

it('a folder made of an exported model is the model that was exported', async () => {
  const source = fileURLToPath(new URL('../parity/gpt2-scaled-by-layer', import.meta.url))
  const [path, back] = [join(folder, 'whole.onnx'), join(folder, 'back')]
  await exportOnnx(source, path)
  await convertModel(path, back, {}, async () => {}, openOnnx)
  const [own, again] = [await loadModel(source), await loadModel(back)]
  expect(again.model.toConfig()).toEqual(own.model.toConfig())
  expect(again.stopTokenIds).toEqual(own.stopTokenIds)
  for (const [name, weight] of own.weights) expect(again.weights.get(name), name).toEqual(weight)
})

it('what an ONNX file says of its model must be an object', () => {
  const path = join(folder, 'said.onnx')
  for (const said of ['', '[]', 'null', '{']) {
    writeFileSync(path, withText(onnxProto.onnx.ModelProto.encode({}).finish(), 'config.json', said))
    expect(() => openOnnx(path)).toThrow(`${path}: what it has under config.json is no JSON object`)
  }
})
