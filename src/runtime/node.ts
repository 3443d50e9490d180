import { setBackends } from './compiled.ts'
import { adviseHugePages } from './huge-pages.ts'
import { openCrew } from './kernel-crew.ts'
import { setKernelHost } from './kernels.ts'
import { type NodeProvider, nodeBackend } from './ort-node.ts'
import { defaultThreads } from './threads.ts'

/** Makes compiled graphs run in this Node process: on the CPU, or where `JACKDAW_PROVIDER` says. */
setBackends((provider = (process.env.JACKDAW_PROVIDER as NodeProvider | undefined) ?? 'cpu') => {
  if (provider !== 'cpu' && provider !== 'webgpu' && provider !== 'cuda') {
    throw new Error(`provider '${provider}' does not run in Node; take cpu, webgpu or cuda`)
  }
  return nodeBackend(provider)
})

const helpers = defaultThreads() - 1
setKernelHost({
  prepare: adviseHugePages,
  openCrew: helpers > 0 ? (job) => openCrew(helpers, job) : undefined,
})
