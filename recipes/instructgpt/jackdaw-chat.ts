/**
 * The assistant that `jackdaw serve` opens with: jackdaw-base, taught on conversations about words, countries, numbers and
 * days that are made from the sources inside two npm packages (InstructGPT's first step: Ouyang et al., 2022, arXiv
 * 2203.02155, §3.5). What it has to know, it learns to look up: it writes a call of a tool, reads the result, and answers
 * from it (LaMDA's toolset: Thoppilan et al., 2022, arXiv 2201.08239, §6.2). An hour on one core.
 *
 *     jackdaw train jackdaw-chat --out runs/jackdaw-chat
 *
 * Asked are held-out words, countries and numbers, in phrasings that are held out too.
 */

import { answerAll } from '../../src/agent/assistant.ts'
import { callLocalTool, TOOLS } from '../../src/agent/toolset.ts'
import { JACKDAW_CHAT_TEMPLATE, type Message } from '../../src/data/instruction/conversation.ts'
import type { Split } from '../../src/data/instruction/turn.ts'
import { type GeneratedConversation, generateConversation, openWorld } from '../../src/data/instruction/world.ts'
import { StepRandom } from '../../src/data/random.ts'
import { scoreAssistant } from '../../src/eval/assistant.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { loadModel } from '../../src/load/load.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import type { TensorData } from '../../src/tensor/index.ts'
import { tokenizerFromJson } from '../../src/text/tokenizer.ts'
import { encodeConversation, heldOutSftLoss, SftBatches, sftInputs, sftObjective } from '../../src/train/sft.ts'

const END_OF_TURN = '<|im_end|>'
/** Draws of what is asked are apart from those of what is taught. */
const ASKED_SEED = 20_261_130
const SLOTS = 32
const LONGEST_ANSWER = 160
/** What the page offers to ask. */
const EXAMPLES = [
  'What is the opposite of brave?',
  'What is the capital of Peru?',
  'What is 17 times 23?',
  'How many people live in Japan?',
  'Spell elephant backwards',
  'What can you do?',
]
/** Of what is asked about its world, and of what refers back to the turn before. */
const ENOUGH = { right: 0.9, followUps: 0.8 }

export default recipe({
  paper: 'instructgpt',
  claim: `jackdaw-base, taught on conversations: at least ${100 * ENOUGH.right} % of held-out questions of its world right with its tools, and ${100 * ENOUGH.followUps} % of follow-ups`,
  settings: {
    /** The model that is taught: a folder, or one that is shipped. */
    data: 'jackdaw-base',
    steps: 3000,
    seed: 1337,
    evalEvery: 1000,
    checkpointEvery: 250,
    conversations: 48_000,
    heldOut: 400,
    seq: 384,
    batch: 6,
    learningRate: 2e-3,
    minLearningRate: 1e-4,
    warmupSteps: 100,
    weightDecay: 0.1,
  },
  async run({ settings, say, trainer, trainLoop, sample, claim }) {
    const { seed, seq, batch } = settings
    const base = await loadModel(settings.data)
    if (!base.tokenizer || base.model.kind !== 'causal') throw new Error(`${settings.data} is no language model`)
    const model = base.model as CausalLm
    const template = { chat_template: JACKDAW_CHAT_TEMPLATE, eos_token: END_OF_TURN }
    const tokenizer = tokenizerFromJson(base.tokenizer.toJSON(), template)
    const world = openWorld(callLocalTool)
    // A token of the vocabulary is about three characters of conversation.
    const draw = (random: StepRandom, split: Split) =>
      generateConversation(world, random, split, { mostCharacters: Math.round(2.1 * seq) })
    const taught = Array.from({ length: settings.conversations }, (_, i) => draw(new StepRandom(seed, i), 'train'))
    const asked = Array.from({ length: settings.heldOut }, (_, i) => draw(new StepRandom(ASKED_SEED, i), 'heldOut'))
    const encoded = (all: readonly GeneratedConversation[]) =>
      all.map(({ conversation }) => encodeConversation(tokenizer, conversation))
    const batches = new SftBatches(encoded(taught), { batch, seq }, seed)
    const heldOut = new SftBatches(encoded(asked), { batch, seq }, seed)
    say(
      `${taught.length} conversations in ${batches.rowsPerEpoch} rows, ${(100 * batches.filled).toFixed(0)} % full; ${batches.truncated} cut off`,
    )

    const valLoss = heldOutSftLoss(heldOut)
    const scores = await trainLoop({
      trainer: await trainer({
        objective: sftObjective(model),
        inputs: sftInputs(batch, seq),
        weights: base.weights as Map<string, TensorData>,
        learningRate: cosineSchedule(settings.learningRate, {
          steps: settings.steps,
          warmupSteps: settings.warmupSteps,
          minimum: settings.minLearningRate,
        }),
        weightDecay: settings.weightDecay,
      }),
      steps: settings.steps,
      batches: (step) => ({ ...batches.batchAt(step) }),
      perStep: { tokens: batch * seq },
      evaluate: async (trained) => {
        const decoder = await CachedDecoder.create(model, trained, { slots: SLOTS })
        try {
          const asks = (conversations: readonly (readonly Message[])[]) =>
            answerAll(decoder, tokenizer, conversations, {
              call: callLocalTool,
              temperature: 0,
              maxNewTokens: LONGEST_ANSWER,
            })
          const { accuracy, gold, byKind, wrong } = await scoreAssistant(asks, asked)
          await sample('wrong', wrong.slice(0, 60))
          const right = Object.entries(byKind).map(([kind, { accuracy }]) => [`right ${kind}`, accuracy])
          return { ...(await valLoss(trained)), right: accuracy, gold, ...Object.fromEntries(right) }
        } finally {
          decoder.release()
        }
      },
      save: {
        model,
        files: {
          'tokenizer.json': JSON.stringify(tokenizer.toJSON()),
          'tokenizer_config.json': JSON.stringify(tokenizer.toConfigJSON(), null, 2),
          'generation_config.json': JSON.stringify({ eos_token_id: tokenizer.idOf(END_OF_TURN) }),
          'toolset.json': JSON.stringify({ tools: TOOLS.map(({ spec }) => spec.name), examples: EXAMPLES }, null, 2),
        },
      },
    })
    claim(scores, scores.right >= ENOUGH.right && scores['right follow-up'] >= ENOUGH.followUps)
  },
})
