import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, it } from 'vitest'

const ROOT = fileURLToPath(new URL('../../', import.meta.url))

/** What a computation needs, up to the models. */
const DEFINITION = ['tensor', 'nn', 'models']
/** What stands beside nn: plain arrays, texts, pictures, files. */
const BESIDE = ['text', 'image', 'hub', 'data']
const CORE = [...DEFINITION, ...BESIDE, 'runtime', 'load', 'optim']
/** These use each other: PPO samples, an evaluation prompts, an agent generates. */
const USERS = ['generate', 'train', 'prompt', 'eval', 'agent']

/** Which folders of src each one may import beside itself. A file instead of a folder allows just that file. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  tensor: [],
  runtime: ['tensor'],
  nn: ['tensor'],
  models: ['tensor', 'nn'],
  text: ['tensor/data.ts'],
  image: ['tensor/data.ts'],
  hub: ['tensor/data.ts'],
  data: ['tensor/data.ts', 'text', 'image', 'hub'],
  load: [...DEFINITION, ...BESIDE, 'runtime'],
  optim: [...DEFINITION, ...BESIDE, 'runtime', 'load'],
  ...Object.fromEntries(USERS.map((name) => [name, [...CORE, ...USERS]])),
  server: [...CORE, ...USERS, 'papers.ts', 'paper-status.ts'],
  cli: [...CORE, ...USERS, 'server', 'papers.ts', 'paper-status.ts'],
}

/** Packages that few may name: the engine, its file format, its library. */
const ENGINE = /^(onnx-proto|onnxruntime-(node|web)|koffi)(\/|$)/
const MAY_NAME_ENGINE = /^src\/runtime\//
/** ONNX's operators are known where graphs are lowered, and beside each op. */
const EMITTER = 'src/tensor/emitter.ts'
const MAY_EMIT = /^src\/(tensor|runtime)\//

/** Demos run models in the page: by the door that every page has. */
const DEMOS = /^web\/src\/demos\//
const DEMOS_MAY_IMPORT = 'src/browser.ts'
/** The page shares the wire format and its defaults with the server. */
const PAGE_MAY_IMPORT = ['src/server/wire.ts', 'src/server/page-sampling.ts', 'src/server/parts.ts']

interface Import {
  readonly from: string
  /** A path from the root for a file of ours, else the package. */
  readonly target: string
}

/** Every import of a file, `import(…)` in code and in types among them. */
function importsOf(path: string, source: string): Import[] {
  const specifiers = [...source.matchAll(/\b(?:from|import)\s*\(?\s*['"]([^'"]+)['"]/g)].map(([, name]) => name)
  return specifiers.map((name) => ({
    from: path,
    target: name.startsWith('.') ? relative(ROOT, join(ROOT, dirname(path), name)) : name,
  }))
}

const filesUnder = (folder: string): string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.tsx?$/.test(file))
    .map((file) => join(folder, file))

const imports = (folder: string): Import[] =>
  filesUnder(folder).flatMap((path) => importsOf(path, readFileSync(join(ROOT, path), 'utf8')))

const folderOf = (path: string): string => path.split('/')[1]

/** What is wrong with an import, or undefined. */
function complaint({ from, target }: Import): string | undefined {
  const wrong = `${from} imports ${target}`
  if (ENGINE.test(target)) return MAY_NAME_ENGINE.test(from) ? undefined : wrong
  if (target === EMITTER) return MAY_EMIT.test(from) ? undefined : wrong
  if (from.startsWith('web/')) {
    if (DEMOS.test(from) && target === DEMOS_MAY_IMPORT) return undefined
    return target.startsWith('src/') && !PAGE_MAY_IMPORT.includes(target) ? wrong : undefined
  }
  const folder = folderOf(from)
  if (!target.startsWith('src/') || folderOf(target) === folder || !(folder in MAY_IMPORT)) return undefined
  const allowed = MAY_IMPORT[folder].some((name) => target === `src/${name}` || target.startsWith(`src/${name}/`))
  return allowed ? undefined : wrong
}

describe('imports run one way (docs/architecture.md, Layers)', () => {
  it('in src', () => {
    const all = imports('src')
    expect(all.length).toBeGreaterThan(300)
    expect(all.map(complaint).filter((what) => what !== undefined)).toEqual([])
  })

  it('in the page', () => {
    expect(
      imports('web/src')
        .map(complaint)
        .filter((what) => what !== undefined),
    ).toEqual([])
  })

  it('every folder of src has its rule', () => {
    const folders = readdirSync(join(ROOT, 'src'), { withFileTypes: true }).filter((entry) => entry.isDirectory())
    expect(folders.map(({ name }) => name).filter((name) => !(name in MAY_IMPORT))).toEqual([])
  })

  it('a room that holds papers holds nothing else: models/ has no file that another imports for its machinery', () => {
    const titles = filesUnder('src/models').map((path) => [path, readFileSync(join(ROOT, path), 'utf8').slice(0, 1500)])
    expect(titles.filter(([, head]) => !/^\/\*\*[\s\S]*(arXiv|20\d\d)/.test(head)).map(([path]) => path)).toEqual([])
  })
})

describe('the rule notices', () => {
  const refused: [string, string][] = [
    ['src/tensor/ops/matmul.ts', "import '../../runtime/lower.ts'"],
    ['src/nn/layers.ts', "import type { A } from '../models/gpt2.ts'"],
    ['src/models/gpt2.ts', "import { compileGraph } from '../runtime/compiled.ts'"],
    ['src/models/gpt2.ts', "type A = import('../hub/open.ts').Checkpoint"],
    ['src/hub/open.ts', "import { Tensor } from '../tensor/index.ts'"],
    ['src/load/load.ts', "await import('../optim/trainer.ts')"],
    ['src/load/load.ts', "import onnx from 'onnx-proto'"],
    ['src/optim/trainer.ts', "import '../generate/decoder.ts'"],
    ['src/generate/decoder.ts', "import '../server/wire.ts'"],
    ['src/server/app.ts', "import '../cli/main.ts'"],
    ['src/nn/layers.ts', "import '../tensor/emitter.ts'"],
    ['web/src/app.tsx', "import '../../src/server/store.ts'"],
    ['web/src/pages/lab.tsx', "import '../../../src/browser.ts'"],
  ]
  it.each(refused)('%s: %s', (path, source) => {
    expect(importsOf(path, source).map(complaint)).not.toContain(undefined)
  })

  const allowed: [string, string][] = [
    ['src/models/palm-e.ts', "import { vit } from './vit.ts'"],
    ['src/train/ppo.ts', "import '../generate/decoder.ts'\nimport '../optim/trainer.ts'"],
    ['src/text/load.ts', "import { TensorData } from '../tensor/data.ts'"],
    ['src/runtime/ort-api.ts', "import koffi from 'koffi'"],
    ['web/src/app.tsx', "import '../../src/server/wire.ts'"],
    ['web/src/demos/beams.tsx', "import '../../../src/browser.ts'"],
  ]
  it.each(allowed)('and lets be %s: %s', (path, source) => {
    expect(importsOf(path, source).map(complaint)).toEqual(source.split('\n').map(() => undefined))
  })
})
