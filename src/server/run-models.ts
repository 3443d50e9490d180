import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import type { ServedModel } from '../generate/types.ts'
import { toJson, writeWhole } from '../optim/files.ts'
import { RequestError } from './errors.ts'
import { findRun, hasModel } from './runs-api.ts'
import type { ModelDesk, ServedModels } from './served-models.ts'

/** Which runs are served, so that a server that is started again serves them too. */
const SERVED = 'served.json'
/** Each takes its memory. */
const MOST_SERVED = 8

/** Models that runs have left, served beside those that the server was started with. */
export class RunModels {
  private readonly names = new Set<string>()
  private readonly loading = new Map<string, Promise<ModelDesk>>()

  constructor(
    private readonly models: ServedModels,
    private readonly runsDir: string,
    /** Without one, runs are not served. */
    private readonly load: ((folder: string) => Promise<ServedModel>) | undefined,
  ) {}

  /** Serves again what was served before, one after another; what is gone, or fails, is left out. */
  async open(log: (error: unknown) => void): Promise<void> {
    if (!this.load) return
    const kept = await readFile(join(this.runsDir, SERVED), 'utf8').catch(() => '[]')
    for (const name of namesIn(kept).slice(0, MOST_SERVED)) await this.serve(name).catch(log)
  }

  has(run: string): boolean {
    return this.names.has(run)
  }

  /** @throws RequestError where the run has no model, or it cannot be loaded, or too many are served */
  async serve(run: string): Promise<ModelDesk> {
    const { name, path } = await findRun(this.runsDir, run)
    if (this.names.has(name)) return this.models.get(name)
    const before = this.loading.get(name)
    if (before) return before
    if (!this.load) throw new RequestError(409, 'This server loads no more models.')
    if (this.models.has(name)) throw new RequestError(409, `A model called ${name} is served already.`)
    if (this.names.size + this.loading.size >= MOST_SERVED) {
      throw new RequestError(409, `${MOST_SERVED} runs are served already; take one of them back first.`)
    }
    if (!(await hasModel(path))) throw new RequestError(409, `${name} has left no model to serve.`)
    const adding = this.add(name, this.load(path)).finally(() => this.loading.delete(name))
    this.loading.set(name, adding)
    return adding
  }

  private async add(name: string, loading: Promise<ServedModel>): Promise<ModelDesk> {
    const model = await loading.catch((error: Error) => {
      throw new RequestError(409, `${name} cannot be served: ${error.message}`)
    })
    const desk = this.models.add(model)
    this.names.add(model.id)
    await this.keep()
    return desk
  }

  /** @returns whether it was served */
  async withdraw(run: string): Promise<boolean> {
    if (!this.names.delete(run)) return false
    this.models.remove(run)
    await this.keep()
    return true
  }

  private keep(): Promise<void> {
    return writeWhole(join(this.runsDir, SERVED), toJson([...this.names]))
  }
}

function namesIn(text: string): string[] {
  try {
    return z.array(z.string()).parse(JSON.parse(text))
  } catch {
    return []
  }
}
