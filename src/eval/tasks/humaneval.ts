import { completions, ksFor, readProblems, solve } from '../code/human-eval.ts'
import { Sandbox } from '../code/sandbox.ts'
import { passAtK } from '../metrics/pass-at-k.ts'
import { mean, type Task } from '../task.ts'

/** Functions to write from a docstring; each program runs in a sandbox (docs/sandbox.md). */
export const humaneval: Task = {
  name: 'humaneval',
  about: 'Python functions to write, each run against its tests in a sandbox: pass@k',
  source: 'Chen et al., 2021, arXiv 2107.03374',
  version: 1,
  file: 'HumanEval.jsonl.gz',
  open(file, { prompt = 'direct', numFewshot, samples = 1, temperature, maxNewTokens, seed, numBeams }) {
    const problems = readProblems(file)
    if (numFewshot || prompt !== 'direct') throw new Error('humaneval asks with the beginning of the program alone')
    if (numBeams !== undefined) throw new Error('humaneval draws its programs: say --samples and --temperature')
    const ks = ksFor(samples)
    const settings = { samples, temperature, maxNewTokens, seed }
    return {
      ...{ size: problems.length, outputType: 'generate_until', numFewshot: 0, config: { ...settings, top_p: 0.95 } },
      metrics: ks.map((k) => mean(`pass@${k}`)),
      async ask(model, items, work) {
        const sandbox = new Sandbox()
        try {
          const asked = items.map((item) => problems[item])
          const solved = await solve(asked, completions(model, settings), { samples, sandbox, ...work })
          return solved.map(({ completions, results, passed }, i) => ({
            ...{ doc_id: items[i], doc: asked[i], target: asked[i].canonical_solution ?? '' },
            ...{ arguments: [asked[i].prompt], resps: completions, filtered_resps: results },
            scores: Object.fromEntries(ks.map((k) => [`pass@${k},none`, passAtK(samples, passed, k)])),
          }))
        } finally {
          sandbox.close()
        }
      },
    }
  },
}
