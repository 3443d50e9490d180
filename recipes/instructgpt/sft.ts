/**
 * Supervised fine-tuning of any causal model on conversations of one's own: a file in OpenAI's fine-tuning format, a
 * conversation a line. With LoRA, which is the default, or of all weights (`lora=0`). What comes out is a model folder
 * with tokenizer and chat template that `jackdaw serve` chats with, and with LoRA also `adapter/`, as PEFT keeps it.
 *
 *     jackdaw train sft --set model=hf:HuggingFaceTB/SmolLM2-135M-Instruct --set data=chat.jsonl --out runs/mine
 *     jackdaw train sft --set model=jackdaw-base --set data=chat.jsonl --set lora=0 --set learningRate=0.001
 *     jackdaw serve --model runs/mine
 */

import { readFileSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { parseChatFile } from '../../src/data/instruction/chat-file.ts'
import { type Conversation, JACKDAW_CHAT_TEMPLATE } from '../../src/data/instruction/conversation.ts'
import { StepRandom } from '../../src/data/random.ts'
import { CachedDecoder } from '../../src/generate/decoder.ts'
import { rollout } from '../../src/generate/rollout.ts'
import { type LoadedModel, loadModel } from '../../src/load/load.ts'
import type { CausalLm } from '../../src/nn/model.ts'
import { recipe } from '../../src/optim/recipe.ts'
import { cosineSchedule } from '../../src/optim/schedule.ts'
import type { Trainer } from '../../src/optim/trainer.ts'
import type { TensorData } from '../../src/tensor/index.ts'
import type { Tokenizer } from '../../src/text/tokenizer.ts'
import { Lora, saveLora } from '../../src/train/lora.ts'
import {
  type EncodedConversation,
  encodeConversation,
  encodePrompt,
  heldOutSftLoss,
  SftBatches,
  sftInputs,
  sftObjective,
} from '../../src/train/sft.ts'

/** Where learningRate is left at 0: what LoRA and what whole models are commonly fine-tuned with. */
const LEARNING_RATE = { lora: 2e-4, full: 2e-5 }
/** Of the steps, in which the learning rate rises. */
const WARMUP = 0.03
/** Prompts of held-out conversations that are answered at every evaluation, and tokens of each answer. */
const SAMPLES = { count: 4, tokens: 64 }

const settings = {
  /** A chat file: OpenAI's fine-tuning JSONL. */
  data: '',
  /** 0: as many as the epochs take. */
  steps: 0,
  seed: 1337,
  evalEvery: 50,
  checkpointEvery: 200,
  /** A folder, hf:owner/name, gguf:FILE, or the name of a shipped model. */
  model: 'jackdaw-base',
  epochs: 3,
  /** LoRA's rank; 0 trains all weights. */
  lora: 16,
  /** α; 0 is twice the rank. */
  loraAlpha: 0,
  loraDropout: 0,
  /** Names of linear layers with commas between, or all-linear. */
  loraTargets: 'all-linear',
  /** 0: 2e-4 with LoRA, 2e-5 without. */
  learningRate: 0,
  weightDecay: 0,
  /** Rows a step, and the tokens of a row, which conversations share; of seq at most what the model takes. */
  batch: 4,
  seq: 512,
  /** The share of conversations that is not trained on, but answered and scored. */
  heldOut: 0.1,
}

export default recipe({
  paper: 'instructgpt',
  claim: 'held-out answers of one’s own conversations cost less after fine-tuning than before',
  settings,
  curve: ['valLoss'],
  async run(context) {
    const { settings, out, say, trainer: makeTrainer, steps, log, sample, save, claim } = context
    if (!statSync(settings.data, { throwIfNoEntry: false })?.isFile()) {
      throw new Error(`--set data=FILE: a chat file, one conversation a line; got '${settings.data}'`)
    }
    const conversations = parseChatFile(readFileSync(settings.data, 'utf8'), basename(settings.data))
    const loaded = await loadModel(settings.model, { mapped: true })
    const model = causal(loaded, settings.model)
    const { tokenizer } = loaded
    if (!tokenizer) throw new Error(`${settings.model} has no tokenizer, so it cannot read conversations`)
    const template = chatTemplateOf(tokenizer, settings.model)
    if (template !== tokenizer.chatTemplate) say('the model has no chat template: it gets ours')

    const { train, validation } = split(conversations, settings)
    const encoded = (of: readonly Conversation[]): EncodedConversation[] =>
      of.map((conversation) => encodeConversation(tokenizer, conversation, { template }))
    const shape = { batch: settings.batch, seq: Math.min(settings.seq, model.maxPositions) }
    const batches = new SftBatches(encoded(train), shape, settings.seed)
    const held = new SftBatches(encoded(validation), shape, settings.seed)
    const total = settings.steps || batches.stepsOf(settings.epochs)
    say(
      `${train.length} conversations to learn and ${validation.length} held out, in ${batches.rowsPerEpoch} rows, ${Math.round(100 * batches.filled)} % full`,
    )
    const { truncated, dropped } = batches
    if (truncated > 0) {
      say(
        `warning: ${truncated} conversations are longer than ${shape.seq} tokens and were cut, ${dropped} of them before any answer and left out; a larger seq reads more`,
      )
    }

    const lora =
      settings.lora > 0
        ? new Lora(model, {
            rank: settings.lora,
            alpha: settings.loraAlpha || 2 * settings.lora,
            dropout: settings.loraDropout,
            targets: settings.loraTargets === 'all-linear' ? 'all-linear' : settings.loraTargets.split(','),
          })
        : undefined
    const student: CausalLm = lora ?? model
    const trainer = await makeTrainer({
      objective: sftObjective(student),
      inputs: sftInputs(shape.batch, shape.seq, batches.answers),
      learningRate: cosineSchedule(settings.learningRate || LEARNING_RATE[lora ? 'lora' : 'full'], {
        steps: total,
        warmupSteps: Math.round(WARMUP * total),
      }),
      beta2: 0.999,
      weightDecay: settings.weightDecay,
      weights: loaded.weights as Map<string, TensorData>,
      missing: lora ? 'init' : 'error',
    })
    loaded.releaseFiles()
    say(
      `${(trainer.layout.parameterCount / 1e6).toFixed(2)}M parameters learn, ${total} steps of ${shape.batch} × ${shape.seq} tokens`,
    )

    const stops = stopTokens(tokenizer, loaded, encoded(train.slice(0, 1))[0])
    const questions = validation.slice(0, SAMPLES.count).map((conversation) => lastQuestion(conversation))
    const evaluate = async (): Promise<{ valLoss: number }> => {
      const scores = await heldOutSftLoss(held)(trainer)
      const prompts = questions.map(({ asked }) => encodePrompt(tokenizer, asked, { template }))
      const answers = await answersOf(student, trainer, prompts, stops, shape.seq)
      await sample(
        'answers',
        questions.map(({ asked, answer }, i) => ({
          prompt: asked.messages.at(-1)?.content ?? '',
          said: tokenizer.decode(answers[i], { skipSpecialTokens: true }),
          expected: answer,
        })),
      )
      return scores
    }
    const files = {
      'tokenizer.json': JSON.stringify(tokenizer.toJSON()),
      'tokenizer_config.json': JSON.stringify({ ...tokenizer.toConfigJSON(), chat_template: template }, null, 2),
      'generation_config.json': JSON.stringify({ eos_token_id: stops, bos_token_id: tokenizer.bosTokenId }),
    }
    const saveAll = async (): Promise<void> => {
      const weights = await trainer.weights()
      await save({ model, weights: lora ? lora.merged(weights) : weights, files })
      if (lora) await saveLora(join(out, 'adapter'), lora, weights, { base: baseName(settings.model, loaded) })
    }

    const state: { before?: number; after?: number } = {}
    const tokens = shape.batch * shape.seq
    const loop = { steps: total, trainers: { training: trainer }, state, perStep: { tokens }, onStop: saveAll }
    for await (const { step } of steps({
      ...loop,
      async evaluate() {
        const { valLoss } = await evaluate()
        state.before ??= valLoss
        state.after = valLoss
        return { valLoss }
      },
    })) {
      state.before ??= (await heldOutSftLoss(held)(trainer)).valLoss
      log(await trainer.train({ ...batches.batchAt(step) }))
    }
    await saveAll()
    const { before = Number.NaN, after = Number.NaN } = state
    claim({ before, after }, after < before)
  },
})

function causal({ model }: LoadedModel, reference: string): CausalLm {
  if (model.kind !== 'causal') throw new Error(`${reference} does not continue text, so it cannot be taught to chat`)
  const causal = model as CausalLm
  if (causal.fillsBlanks) throw new Error(`${reference} fills blanks, and is not taught to chat here`)
  return causal
}

/** The model's own template, or else ours, whose turns end with the model's end of text where it knows no other. */
function chatTemplateOf(tokenizer: Tokenizer, reference: string): string {
  if (tokenizer.chatTemplate !== undefined) return tokenizer.chatTemplate
  if (tokenizer.idOf('<|im_end|>') !== undefined) return JACKDAW_CHAT_TEMPLATE
  const end = tokenizer.eosTokenId === undefined ? undefined : tokenizer.tokenOf(tokenizer.eosTokenId)
  if (end === undefined) throw new Error(`${reference} has no chat template and no token that ends a text`)
  return JACKDAW_CHAT_TEMPLATE.replaceAll('<|im_end|>', end)
}

/** Some conversations held out, drawn by the seed: at least one where there are several. Of one alone, the same again. */
function split(
  conversations: readonly Conversation[],
  { heldOut, seed }: { heldOut: number; seed: number },
): { train: Conversation[]; validation: Conversation[] } {
  if (!(heldOut >= 0 && heldOut < 1)) throw new Error(`--set heldOut=${heldOut}: a share of at least 0 and below 1`)
  const order = [...new StepRandom(seed, 0).permutation(conversations.length)].map((i) => conversations[i])
  if (order.length === 1 || heldOut === 0) return { train: order, validation: order.slice(0, SAMPLES.count) }
  const count = Math.min(order.length - 1, Math.max(1, Math.round(heldOut * order.length)))
  return { train: order.slice(count), validation: order.slice(0, count) }
}

/** A conversation up to its last answer, and that answer. */
function lastQuestion({ messages, ...rest }: Conversation): { asked: Conversation; answer: string } {
  const last = messages.findLastIndex(({ role }) => role === 'assistant')
  return { asked: { messages: messages.slice(0, last), ...rest }, answer: messages[last].content }
}

/** Greedy answers from the weights as they are. */
async function answersOf(
  model: CausalLm,
  trainer: Trainer,
  prompts: readonly (readonly number[])[],
  stopTokenIds: readonly number[],
  seq: number,
): Promise<number[][]> {
  const capacity = Math.min(model.maxPositions, seq + SAMPLES.tokens)
  const decoder = await CachedDecoder.create(model, trainer, { slots: SAMPLES.count, capacity })
  try {
    const shown = prompts.map((ids) => ids.slice(-(capacity - SAMPLES.tokens)))
    const episodes = await rollout(decoder, shown, { temperature: 0, maxNewTokens: SAMPLES.tokens, stopTokenIds })
    return episodes.map(({ ids }) => ids)
  } finally {
    decoder.release()
  }
}

/** What ends an answer: the token that the template ends a turn with, and the model's own. */
function stopTokens(
  tokenizer: Tokenizer,
  { stopTokenIds }: LoadedModel,
  { inputIds, answer }: EncodedConversation,
): number[] {
  const end = inputIds[answer.lastIndexOf(true)]
  return [...new Set([...(tokenizer.specialIds.has(end) ? [end] : []), ...stopTokenIds])]
}

/** As PEFT names a base: a model of the hub, or a path. */
const baseName = (reference: string, { path }: LoadedModel): string =>
  reference.startsWith('hf:') ? reference.slice(3).replace(/@.*$/, '') : path
