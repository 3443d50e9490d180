import fc from 'fast-check'
import { afterAll, beforeEach, expect, it } from 'vitest'
import { openCrew } from '../../src/runtime/kernel-crew.ts'
import { Arena, type Crew, paddedLength, setKernelHost } from '../../src/runtime/kernels.ts'

const LONG = 1_200_000
const adamw = { lr: 1e-3, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, step: 3, gradScale: 0.5 }

let opened = 0
const crewOf = (helpers: number) => (job: Parameters<typeof openCrew>[1]) => {
  opened++
  return openCrew(helpers, job)
}

beforeEach(() => setKernelHost({}))
afterAll(() => setKernelHost({}))

/** Four arrays of the same made-up numbers in an arena of their own. */
function arrays(length: number): { arena: Arena; all: Float32Array[] } {
  const arena = new Arena(4 * paddedLength(length))
  const all = [0, 1, 2, 3].map(() => arena.alloc(length))
  all.forEach((array, i) => {
    arena.philoxUniform(array, { key: [1, i], counter: [0, 0, 0, 0] })
  })
  return { arena, all }
}

/** Every pass once, and what it leaves. */
function passes(length: number): { sums: number[]; bytes: Buffer; arena: Arena } {
  const { arena, all } = arrays(length)
  const [p, g, m, v] = all
  const sums = [arena.sumOfSquares(g)]
  arena.adamw(p, g, m, v, adamw)
  arena.axpy(m, g, 0.3)
  arena.lerp(v, p, 0.01)
  sums.push(...all.map((array) => arena.sumOfSquares(array)))
  const bytes = Buffer.concat(
    all.map(({ buffer, byteOffset, byteLength }) => Buffer.from(buffer, byteOffset, byteLength)),
  )
  return { sums, bytes, arena }
}

it('gives the same bits on one thread and on several, at any length', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1_000_000, max: LONG }), fc.integer({ min: 1, max: 3 }), (length, helpers) => {
      setKernelHost({})
      const alone = passes(length)
      setKernelHost({ openCrew: crewOf(helpers) })
      const together = passes(length)
      expect(together.sums).toEqual(alone.sums)
      expect(together.bytes.equals(alone.bytes)).toBe(true)
      together.arena.release()
    }),
    { numRuns: 8 },
  )
  expect(opened).toBeGreaterThan(0)
})

it('hands every chunk to one thread, once, pass after pass', async () => {
  setKernelHost({ openCrew: crewOf(2) })
  const { arena, all } = arrays(LONG)
  const [dst, src] = all
  dst.fill(0)
  src.fill(1)
  const passes = 100
  for (let i = 0; i < passes; i++) {
    arena.axpy(dst, src, 1)
    if (i % 20 === 0) await new Promise((resolve) => setTimeout(resolve, 1)) // helpers fall asleep between
  }
  expect(dst.every((value) => value === passes)).toBe(true)
  arena.release()
})

it('goes on alone after its threads have ended, and starts none for short passes', () => {
  opened = 0
  let ended = 0
  setKernelHost({
    openCrew: (job): Crew => {
      const crew = crewOf(1)(job)
      const end = (): void => {
        ended++
        crew.end()
      }
      return { ...crew, end }
    },
  })
  const { arena, all } = arrays(LONG)
  arena.axpy(all[0].subarray(0, 1000), all[1].subarray(0, 1000), 2)
  expect(opened).toBe(0)
  arena.axpy(all[0], all[1], 2)
  expect(opened).toBe(1)
  arena.release()
  arena.release()
  expect(ended).toBe(1)
})

it('keeps no process alive', () => {
  setKernelHost({ openCrew: crewOf(2) })
  const before = process.getActiveResourcesInfo()
  const { arena, all } = arrays(LONG)
  arena.axpy(all[0], all[1], 2)
  expect(process.getActiveResourcesInfo()).toEqual(before)
  arena.release()
})
