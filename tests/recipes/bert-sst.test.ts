import { join } from 'node:path'
import { expect, it } from 'vitest'
import sst from '../../recipes/bert/sst.ts'
import { loadModel } from '../../src/load/load.ts'
import { runRecipe } from '../../src/optim/run.ts'
import '../../src/runtime/node.ts'
import { temporaryFolder } from '../hub/temporary.ts'
import { lacksShared, sharedPath } from '../shared.ts'

const root = temporaryFolder()

it.skipIf(lacksShared('data/text'))(
  'pre-trains and fine-tunes, from a few steps of everything',
  { timeout: 120_000 },
  async () => {
    const settings = {
      ...sst.settings,
      ...{ data: sharedPath('data/text'), steps: 2, seeds: 1, batch: 4, dModel: 8, nLayers: 1, nHeads: 2 },
      ...{ leastCount: 50, labels: 20, tuningSteps: 2, tuningBatch: 4 },
    }
    const out = join(root, 'sst')
    const { finished, measured } = await runRecipe(sst, settings, { out })
    expect(finished).toBe(true)
    expect(Object.keys(measured ?? {}).sort()).toEqual(['gain', 'pretrained1337', 'scratch1337'])
    for (const name of ['pretrained1337', 'scratch1337']) {
      expect(measured?.[name]).toBeGreaterThan(0.4)
      expect(measured?.[name]).toBeLessThan(0.7)
    }
    const { model, tokenizer } = await loadModel(out)
    expect(model.kind).toBe('encoder')
    expect(tokenizer?.decode(tokenizer.encode('The film', { addSpecialTokens: false }))).toBe('the film')
    await expect(runRecipe(sst, { ...settings, data: root }, { out: join(root, 'none') })).rejects.toThrow(
      '--set data=FOLDER: the folder of sst5-train_fine_sent.csv',
    )
  },
)
