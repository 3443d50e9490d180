import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type Benchmark, type ContestantSpec, runBenchmark, spread } from '../../bench/harness.ts'
import { markdown } from '../../bench/report.ts'

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'jackdaw-harness-'))
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const journal = () => join(folder, 'journal')

/** A contestant that writes its turns down and answers with figures given beforehand. */
function contestant(name: string, figures: readonly number[], ready: object = {}): ContestantSpec {
  const script = join(folder, `${name.replace(/\W/g, '-')}.cjs`)
  writeFileSync(
    script,
    `const say = (message) => console.log('bench ' + JSON.stringify(message))
    console.log('what a library prints')
    say({ ready: true, versions: { [${JSON.stringify(name)}]: '1.0' }, ...${JSON.stringify(ready)} })
    const figures = ${JSON.stringify(figures)}
    require('node:readline').createInterface({ input: process.stdin }).on('line', (line) => {
      const { measure, seconds } = JSON.parse(line)
      require('node:fs').appendFileSync(${JSON.stringify(journal())}, ${JSON.stringify(name)} + ' ' + measure + ' ' + seconds + '\\n')
      const value = figures.shift()
      if (value === undefined) { console.error('out of figures'); process.exit(1) }
      say({ value })
    })`,
  )
  return { name, command: [process.execPath, script], install: 'npm install it' }
}

const broken = (name: string, code: string): ContestantSpec => ({
  name,
  command: [process.execPath, '-e', code],
  install: 'npm install it',
})

const benchmark = (jackdaw: ContestantSpec, peers: ContestantSpec[], atLeast = 1.5): Benchmark => ({
  name: 'race',
  jackdaw,
  peers,
  measures: [
    {
      name: 'run',
      what: 'running',
      unit: 'm/s',
      atLeast: Object.fromEntries(peers.map(({ name }) => [name, atLeast])),
    },
  ],
})

describe('runBenchmark', () => {
  it('lets contestants take turns, and compares neighbouring turns', async () => {
    writeFileSync(journal(), '')
    const race = benchmark(contestant('jackdaw', [10, 40, 20]), [contestant('crow', [5, 10, 20])])
    const { rows, versions } = await runBenchmark(race, { rounds: 3, seconds: 2 })
    const turns = readFileSync(journal(), 'utf8').trim().split('\n')
    expect(turns).toEqual(['jackdaw', 'crow', 'jackdaw', 'crow', 'jackdaw', 'crow'].map((name) => `${name} run 2`))
    expect(rows).toHaveLength(1)
    expect(rows[0].jackdaw?.median).toBe(20)
    expect(rows[0].peerFigure?.median).toBe(10)
    expect(rows[0].ratio).toEqual({ median: 2, min: 1, max: 4 })
    expect(rows[0].met).toBe(true)
    expect(versions).toEqual({ jackdaw: '1.0', crow: '1.0' })
  })

  it('says of a target that is missed that it is', async () => {
    const race = benchmark(contestant('jackdaw', [10]), [contestant('crow', [9])])
    const { rows } = await runBenchmark(race, { rounds: 1, seconds: 1 })
    expect(rows[0].met).toBe(false)
  })

  it('measures without peers that are not installed, and says how to install them', async () => {
    const crow = broken('crow', `console.log('bench {"missing": "no module crow"}')`)
    const rook: ContestantSpec = { name: 'rook', command: [join(folder, 'no-such-file')], install: 'pip install rook' }
    const race = benchmark(contestant('jackdaw', [10, 12]), [crow, rook])
    const { rows } = await runBenchmark(race, { rounds: 2, seconds: 1 })
    expect(rows.map(({ missing }) => missing)).toEqual([
      'not installed (no module crow): npm install it',
      expect.stringMatching(/^not installed \(.*ENOENT.*\): pip install rook$/),
    ])
    expect(rows[0].jackdaw?.median).toBe(11)
    expect(rows[0].met).toBeUndefined()
  })

  it('goes on without a contestant that ends, with its last words', async () => {
    const race = benchmark(contestant('jackdaw', [10, 10]), [contestant('crow', [5])])
    const { rows } = await runBenchmark(race, { rounds: 2, seconds: 1 })
    expect(rows[0].missing).toBe('ended: out of figures')
    expect(rows[0].ratio).toBeUndefined()
    const late = benchmark(contestant('jackdaw', [10]), [broken('crow', `throw new Error('no memory')`)])
    expect((await runBenchmark(late, { rounds: 1, seconds: 1 })).rows[0].missing).toBe('ended: Error: no memory')
  })

  it('refuses to compare networks of different sizes', async () => {
    const race = benchmark(contestant('jackdaw', [10], { parameters: 7 }), [contestant('crow', [5], { parameters: 8 })])
    const { rows } = await runBenchmark(race, { rounds: 1, seconds: 1 })
    expect(rows[0].missing).toBe('has 8 parameters, jackdaw has 7')
  })

  it('holds a figure of its own against a limit', async () => {
    const alone: Benchmark = {
      name: 'diet',
      jackdaw: contestant('jackdaw', [3, 1, 2]),
      peers: [],
      measures: [{ name: 'eat', what: 'eating', unit: 'kg', atMost: 1.5 }],
    }
    const { rows } = await runBenchmark(alone, { rounds: 3, seconds: 1 })
    expect(rows).toEqual([
      {
        benchmark: 'diet',
        what: 'eating',
        unit: 'kg',
        jackdaw: { median: 2, min: 1, max: 3 },
        target: '≤ 1.5',
        met: false,
      },
    ])
  })
})

describe('spread', () => {
  it('takes the middle of two middle values', () => {
    expect(spread([4, 1, 3, 2])).toEqual({ median: 2.5, min: 1, max: 4 })
  })
})

describe('markdown', () => {
  it('shows figures, ratios and what is missing', () => {
    const machine = { processor: 'A processor', cores: 2, memoryGb: 16, platform: 'linux x64', loadAtStart: 0.1 }
    const one = { median: 1234.4, min: 1, max: 2000 }
    const text = markdown({
      machine,
      versions: { 'Node.js': '20' },
      rounds: 5,
      seconds: 3,
      rows: [
        {
          benchmark: 'race',
          what: 'running',
          unit: 'm/s',
          jackdaw: one,
          peer: 'crow',
          peerFigure: { median: 0.5, min: 0.4, max: 0.6 },
          ratio: { median: 2, min: 1.5, max: 2.5 },
          target: '≥ 1.5',
          met: true,
        },
        {
          benchmark: 'race',
          what: 'running',
          unit: 'm/s',
          jackdaw: one,
          peer: 'rook',
          target: '≥ 1',
          missing: 'is not here',
        },
      ],
    })
    const lines = text.split('\n').map((line) => line.replace(/ +/g, ' '))
    expect(lines).toContain('| race | running | 1,234 m/s | crow | 0.500 m/s | 2.00 (1.50–2.50) | ≥ 1.5 | yes |')
    expect(lines).toContain('| race | running | 1,234 m/s | rook | – | – | ≥ 1 | – |')
    expect(lines).toContain('- race, running against rook: is not here')
  })
})
