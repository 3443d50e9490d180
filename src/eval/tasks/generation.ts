import { z } from 'zod'
import { readJsonLines } from '../data-file.ts'
import { type BleuStatistics, bleuOf, bleuStatistics } from '../metrics/bleu.ts'
import { exactMatch } from '../metrics/exact-match.ts'
import { ROUGE_TYPES, rouge } from '../metrics/rouge.ts'
import { mean, share, type Task, together } from '../task.ts'

const entry = z
  .object({
    input: z.string(),
    output: z.string().optional(),
    references: z.array(z.string()).min(1).optional(),
  })
  .transform(({ input, output, references = output === undefined ? [] : [output] }) => ({ input, references }))
  .refine(({ references }) => references.length > 0, { error: 'has no "output" and no "references"' })

/** A user's own texts, continued or answered: translations, summaries. */
export const generation: Task = {
  name: 'generation',
  about: 'texts of your own, continued or answered: exact match, BLEU, ROUGE',
  version: 1,
  fileForm: 'a line each: {"input": "…", "output": "…"}, or "references": ["…", "…"]',
  open(file, settings) {
    const texts = readJsonLines(file, entry)
    const { maxNewTokens, stop, numBeams } = settings
    if (settings.numFewshot) throw new Error('generation takes its inputs as they are: write demonstrations into them')
    return {
      ...{ size: texts.length, outputType: 'generate_until', numFewshot: 0, config: { ...settings } },
      metrics: [
        share('exact_match'),
        together<BleuStatistics>('bleu', (statistics) => bleuOf(statistics).score),
        ...ROUGE_TYPES.map((type) => mean(type)),
      ],
      async ask(model, items, work) {
        const inputs = items.map((item) => texts[item].input)
        const said = await model.generate(inputs, { maxNewTokens, stop, numBeams, ...work })
        return said.map((text, i) => {
          const { references } = texts[items[i]]
          const answer = text.trim()
          const scores = rouge(answer, references, { stemmer: true })
          return {
            ...{ doc_id: items[i], doc: texts[items[i]], target: references[0], arguments: [inputs[i]], resps: [text] },
            filtered_resps: [answer],
            scores: {
              'exact_match,none': exactMatch(answer, references) ? 1 : 0,
              'bleu,none': bleuStatistics(answer, references),
              ...Object.fromEntries(ROUGE_TYPES.map((type) => [`${type},none`, scores[type].fmeasure])),
            },
          }
        })
      },
    }
  },
}
