import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import digitsRecipe from '../../recipes/ddpm/digits.ts'
import { digitsInstalled } from '../../src/data/digits.ts'
import { loadModel } from '../../src/load/load.ts'
import { runRecipe } from '../../src/optim/run.ts'
import '../../src/runtime/node.ts'
import { temporaryFolder } from '../hub/temporary.ts'

const root = temporaryFolder()
const lacking = !digitsInstalled()
if (lacking) console.warn('skipped: the package of recipes/digits is not installed')

it.skipIf(lacking)(
  'trains, draws and judges digits, from a few steps of everything',
  async () => {
    const settings = {
      ...digitsRecipe.settings,
      ...{ steps: 4, batch: 8, evalEvery: 0, noiseLevels: 6, classifierSteps: 3, drawings: 10, drawingSteps: 6 },
    }
    const out = join(root, 'digits')
    const { finished, measured } = await runRecipe(digitsRecipe, settings, { out })
    expect(finished).toBe(true)
    expect(Object.keys(measured ?? {}).sort()).toEqual(['accuracy', 'asAsked', 'heldOutLoss', 'recognised'])
    expect(measured?.heldOutLoss).toBeGreaterThan(0.5)
    expect(measured?.heldOutLoss).toBeLessThan(1.5)
    for (const name of ['drawn', 'guided']) expect(existsSync(join(out, 'samples', `${name}-00000004.png`))).toBe(true)
    expect(JSON.parse(readFileSync(join(out, 'config.json'), 'utf8'))._class_name).toBe('UNet2DModel')
    expect(existsSync(join(out, 'diffusion_pytorch_model.safetensors'))).toBe(true)
    expect((await loadModel(out)).model.kind).toBe('diffusion')
  },
  60_000,
)
