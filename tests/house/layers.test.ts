import { spawnSync } from 'node:child_process'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))
const BELOW_MODELS = ['tensor', 'runtime', 'nn', 'text', 'image', 'hub', 'data']
const BESIDE_TRAIN = ['train', 'prompt', 'eval', 'agent']

/** Which folders each folder may import: docs/architecture.md, Layers. The rules in biome.json are held to this. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  tensor: [],
  runtime: ['tensor'],
  nn: ['tensor'],
  text: [],
  image: [],
  hub: [],
  data: ['text', 'image', 'hub'],
  models: ['tensor', 'nn'],
  generate: [...BELOW_MODELS, 'models'],
  train: [...BELOW_MODELS, ...BESIDE_TRAIN, 'models', 'generate'],
  prompt: [...BELOW_MODELS, ...BESIDE_TRAIN, 'models', 'generate'],
  eval: [...BELOW_MODELS, ...BESIDE_TRAIN, 'models', 'generate'],
  agent: [...BELOW_MODELS, ...BESIDE_TRAIN, 'models', 'generate'],
  server: [...BELOW_MODELS, ...BESIDE_TRAIN, 'models', 'generate'],
}
const FOLDERS = [...Object.keys(MAY_IMPORT), 'cli']

/** A tree of one file for each case, linted in one run. */
const tree = mkdtempSync(join(tmpdir(), 'jackdaw-layers-'))
afterAll(() => rmSync(tree, { recursive: true }))

/** Writes a file with these imports; gives back a function that says which of them the linter refuses. */
const cases: { path: string; imports: readonly string[] }[] = []
function refused(path: string, imports: readonly string[]): () => string[] {
  cases.push({ path, imports })
  return () => imports.filter((_, line) => diagnostics().has(`${path}:${line + 1}`))
}

let found: Set<string> | undefined
function diagnostics(): Set<string> {
  if (found) return found
  cpSync(join(ROOT, 'biome.json'), join(tree, 'biome.json'))
  for (const { path, imports } of cases) {
    mkdirSync(dirname(join(tree, path)), { recursive: true })
    writeFileSync(join(tree, path), imports.map((specifier) => `import '${specifier}'\n`).join(''))
  }
  const { stdout, stderr } = spawnSync(
    join(ROOT, 'node_modules', '.bin', 'biome'),
    ['lint', '--vcs-enabled=false', '--only=style/noRestrictedImports', '--max-diagnostics=none', '--colors=off', '.'],
    { cwd: tree, encoding: 'utf8' },
  )
  const report = stdout + stderr
  if (!/Checked \d+ files/.test(report)) throw new Error(`biome did not run: ${report}`)
  found = new Set([...report.matchAll(/^(\S+:\d+):\d+ lint\/style\/noRestrictedImports/gm)].map((m) => m[1]))
  return found
}

const others = (folder: string): string[] => FOLDERS.filter((other) => other !== folder)

describe('imports run one way', () => {
  for (const [folder, allowed] of Object.entries(MAY_IMPORT)) {
    const answer = refused(
      `src/${folder}/probe.ts`,
      others(folder).map((other) => `../${other}/index.ts`),
    )
    it(`${folder} imports ${allowed.join(', ') || 'no other folder'}`, () => {
      const expected = others(folder).filter((other) => !allowed.includes(other))
      expect(answer()).toEqual(expected.map((other) => `../${other}/index.ts`))
    })
  }

  const beside = ['text', 'image', 'hub', 'data'].map((folder) =>
    refused(`src/${folder}/data.ts`, ['../tensor/data.ts']),
  )
  it('what lies beside nn shares the plain arrays of tensor/data.ts', () => {
    for (const answer of beside) expect(answer()).toEqual([])
  })

  const nested = {
    data: ['../../tensor/data.ts', '../random.ts', '../../nn/layers.ts'],
    tensor: ['../dim.ts', '../../runtime/lower.ts'],
  }
  const fromCorpus = refused('src/data/corpus/probe.ts', nested.data)
  const fromOps = refused('src/tensor/ops/probe.ts', nested.tensor)
  it('deeper folders keep to the same rules', () => {
    expect(fromCorpus()).toEqual(['../../nn/layers.ts'])
    expect(fromOps()).toEqual(['../../runtime/lower.ts'])
  })

  const plumbing = [
    '../runtime/compile.ts',
    '../hub/open.ts',
    '../text/load.ts',
    '../nn/model.ts',
    '../generate/engine.ts',
  ]
  const loader = refused('src/models/load.ts', plumbing)
  const definition = refused('src/models/gpt2.ts', plumbing)
  it('models are loaded and run by files of their own; a definition knows neither', () => {
    expect(loader()).toEqual(['../generate/engine.ts'])
    expect(definition()).toEqual(plumbing.filter((specifier) => specifier !== '../nn/model.ts'))
  })

  const engine = ['onnx-proto', 'onnxruntime-node', 'onnxruntime-web/webgpu', 'koffi', '../tensor/emitter.ts']
  const above = ['nn', 'models', 'train', 'generate', 'server'].map((folder) =>
    refused(`src/${folder}/engine.ts`, engine),
  )
  const file = refused('src/models/onnx-file.ts', engine)
  const runtime = refused('src/runtime/engine.ts', engine)
  it('only runtime knows the engine, and only runtime and tensor know its operators', () => {
    for (const answer of above) expect(answer()).toEqual(engine)
    expect(runtime()).toEqual([])
    expect(file(), 'the file format, and not the engine').toEqual(engine.slice(1))
  })

  const shared = ['../../src/server/wire.ts', '../../../src/server/wire.ts', '../../src/server/page-sampling.ts']
  const wire = [...shared, '../../src/server/store.ts']
  const page = refused('web/src/probe.ts', wire)
  it('the page imports the wire format and nothing else', () => {
    expect(page()).toEqual(['../../src/server/store.ts'])
  })

  it('every folder of src has its rule', () => {
    const folders = readdirSync(join(ROOT, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory())
    expect(folders.map(({ name }) => name).filter((name) => !FOLDERS.includes(name))).toEqual([])
  })
})
