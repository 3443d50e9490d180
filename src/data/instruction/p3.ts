/**
 * Two collections as others publish them, read from a user's own files: P3, the prompted data sets of Multitask Prompted
 * Training Enables Zero-Shot Task Generalization (Sanh, Webson, Raffel, Bach et al., 2021, arXiv 2110.08207), and the
 * questions with rationales of the Flan Collection.
 */

import { readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { z } from 'zod'
import { type DataSet, EXAMPLE_LIMIT, type Example } from './flan.ts'

/** A line of P3: what a template made of an example. */
export interface P3Row {
  readonly template: string
  readonly prompt: string
  readonly answer: string
}

const row = z.object({ template: z.string().min(1), prompt: z.string().min(1), answer: z.string() })

/**
 * Lines of JSON with `template`, `prompt` and `answer`. Empty lines are passed over.
 *
 * @param name - of the file, which an error begins with
 * @throws Error in one sentence where a line is something else, or there is none
 */
export function parseP3(text: string, name: string): P3Row[] {
  const rows = text.split('\n').flatMap((line, i) => {
    if (line.trim() === '') return []
    const where = `${name}, line ${i + 1}`
    let json: unknown
    try {
      json = JSON.parse(line)
    } catch {
      throw new Error(`${where}: is not JSON`)
    }
    const { data, error } = row.safeParse(json)
    if (data) return [data]
    const [{ path, message }] = error.issues
    throw new Error(`${where}: ${path.length > 0 ? `“${path.join('.')}”: ` : ''}${message}`)
  })
  if (rows.length === 0) throw new Error(`${name}: is empty; it is to have a line of JSON for each example`)
  return rows
}

/** A template whose rows have no more different answers than this asks for one of them. */
const OPTIONS_AT_MOST = 5
/** Templates that ask for what others of their data set give: how their names end. */
const INVERTED = [
  ...['generate_question', 'generate_question_by_answer', 'question_from_the_answer', 'answer_to_question'],
  ...['Question_from_Topic', 'generate_story', 'spice_up_story', 'reverse_writing', 'write_an_article'],
  ...['write_its_sentence', 'expand_reverse_task_', 'dialogue_that_match_this_summary', 'generate_review'],
  ...['build_story_around_qa', 'answer_to_dialogue', 'sentence_to_concepts', 'topics_from_the_sentence'],
  ...['generate_subject', 'generate_subject_and_object', 'wiki_bio_who', 'Jeopardy_style'],
] as const

/**
 * A data set of P3's rows. P3 has the answers that are possible in its templates, which are not in the rows: where the
 * rows of a template have two to five different answers, these are its options.
 *
 * @throws RangeError where there are no rows
 */
export function p3Set(name: string, clusters: readonly string[], rows: readonly P3Row[]): DataSet {
  if (rows.length === 0) throw new RangeError(`${name} has no examples`)
  const byTemplate = new Map<string, P3Row[]>()
  for (const row of rows) {
    const known = byTemplate.get(row.template)
    if (known) known.push(row)
    else byTemplate.set(row.template, [row])
  }
  const lists = [...byTemplate].map(([template, all]) => {
    const rows = all.slice(0, EXAMPLE_LIMIT)
    const answers = [...new Set(rows.map(({ answer }) => answer))].sort()
    const areOptions = answers.length >= 2 && answers.length <= OPTIONS_AT_MOST && answers.length < rows.length
    return { rows, options: areOptions ? answers : undefined, inverted: INVERTED.some((end) => template.endsWith(end)) }
  })
  return {
    ...{ name, clusters, size: Math.max(...lists.map(({ rows }) => rows.length)) },
    templates: lists.map(({ rows, inverted }) => ({ inverted, size: rows.length })),
    prompt(template, index) {
      const { rows, options } = lists[template]
      const { prompt, answer } = rows[index]
      return { input: prompt.trimEnd(), target: answer, ...(options && { options }) }
    },
  }
}

/** The clusters of P3's data sets, by the names of their files; FLAN's, and topics, which FLAN has not. */
export const P3_CLUSTERS: Readonly<Record<string, readonly string[]>> = {
  sentiment: ['amazon_polarity', 'app_reviews', 'imdb', 'rotten_tomatoes', 'yelp_review_full'],
  paraphrase: ['glue_mrpc', 'glue_qqp', 'paws'],
  topics: ['ag_news', 'dbpedia_14'],
  summarization: ['cnn_dailymail', 'gigaword', 'multi_news', 'samsum', 'xsum'],
  'structure to text': ['common_gen', 'wiki_bio'],
  'closed-book QA': ['kilt_tasks_hotpotqa', 'wiki_qa', 'sciq'],
  commonsense: ['commonsense_qa', 'social_i_qa', 'quarel', 'qasc', 'wiqa'],
  'reading comprehension': ['adversarial_qa', 'dream', 'duorc', 'quartz', 'quoref', 'ropes', 'sciq', 'wiki_hop'],
  'reading comprehension with commonsense': ['cosmos_qa'],
}

/**
 * A file of P3, packed (`.gz`) or not, as a data set of the clusters that its name has.
 *
 * @throws Error in one sentence where it cannot be read, or a line is none of P3's
 */
export function readP3(path: string): DataSet {
  const name = basename(path).replace(/\.jsonl?(\.gz)?$/, '')
  const clusters = Object.keys(P3_CLUSTERS).filter((cluster) => P3_CLUSTERS[cluster].includes(name))
  return p3Set(name, clusters, parseP3(readText(path), path))
}

function readText(path: string): string {
  let bytes: Buffer
  try {
    bytes = readFileSync(path)
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    throw new Error(code === 'ENOENT' ? `${path}: there is no such file` : `${path}: cannot be read (${code})`)
  }
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes.toString('utf8')
  try {
    return gunzipSync(bytes).toString('utf8')
  } catch {
    throw new Error(`${path}: begins as a gzip file does, and is damaged; fetch it again`)
  }
}

/**
 * Questions with rationales, as the Flan Collection has them: `question`, `answer` and `rationale`, with tabs between and
 * line ends written `\n`.
 *
 * @throws Error in one sentence where a line has another number of fields, or there is none
 */
export function parseRationales(text: string, name: string): Example[] {
  const examples = text.split(/\r?\n/).flatMap((line, i) => {
    if (line.trim() === '') return []
    const fields = line.split('\t').map((field) => field.replaceAll('\\n', '\n').trim())
    if (fields.length !== 3 || fields.includes('')) {
      const found = fields.length === 3 ? 'an empty field' : `${fields.length} field${fields.length === 1 ? '' : 's'}`
      throw new Error(
        `${name}, line ${i + 1}: has ${found}; a line is question, answer and rationale, with tabs between`,
      )
    }
    const [question, answer, rationale] = fields
    return [{ fields: { question, answer, rationale } }]
  })
  if (examples.length === 0) throw new Error(`${name}: is empty; it is to have a question on each line`)
  return examples
}

/** As `parseRationales`, of a file, packed or not. */
export const readRationales = (path: string): Example[] => parseRationales(readText(path), path)
