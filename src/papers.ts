/**
 * The reading list: which file implements which paper, what is checked of it, and what came out. `jackdaw papers` shows
 * it and says what is not there yet; docs/papers.md is written from it.
 *
 * A paper works when it is the same as a reference implementation in its numbers, learns what it should when trained
 * here, and is usable in a few lines.
 */

export const CHECKS = ['same', 'learns', 'usable'] as const
export type CheckName = (typeof CHECKS)[number]

export interface Check {
  readonly what: string
  /** The tests, recipes and commands that show it: paths from the root of the repository. */
  readonly by: readonly string[]
  /** What came out. Left out while it is not measured. */
  readonly result?: string
  /** The result falls short of what is asked. */
  readonly missed?: boolean
}

export interface Paper {
  readonly number: number
  readonly title: string
  /** Paths from src/. */
  readonly files: readonly string[]
  /** What is checked so far; a check that is left out is still to be built. */
  readonly checks?: Readonly<Partial<Record<CheckName, Check>>>
}

const HELD = 'held by tests'

export const PAPERS: readonly Paper[] = [
  { number: 1, title: 'Transformer (Attention Is All You Need)', files: ['models/transformer.ts'] },
  { number: 2, title: 'GPT-1', files: ['models/gpt1.ts'] },
  {
    number: 3,
    title: 'GPT-2',
    files: ['models/gpt2.ts'],
    checks: {
      same: {
        what: 'outputs and all gradients within 1e-4 of transformers; cached decoding and beams token for token',
        by: ['tests/parity/parity.test.ts', 'tests/generate/cached.test.ts'],
        result: HELD,
      },
      learns: {
        what: 'nanoGPT’s CPU setting on tinyshakespeare: validation loss at most 1.88 in 2,000 steps',
        by: ['recipes/nanogpt-shakespeare-cpu.ts'],
        result: '1.897, which misses 1.88 by 0.017 (seed 1337); nanoGPT’s network in PyTorch reaches 1.889 so measured',
        missed: true,
      },
      usable: {
        what: 'generate, tokenize, forward and grad on its checkpoints',
        by: ['tests/cli/generate.test.ts', 'tests/text/tokenize-command.test.ts', 'tests/cli/forward.test.ts'],
        result: HELD,
      },
    },
  },
  { number: 4, title: 'GPT-3', files: ['models/gpt3.ts'] },
  { number: 5, title: 'In-context learning', files: ['prompt/few-shot.ts'] },
  { number: 6, title: 'Codex', files: ['eval/code'] },
  { number: 7, title: 'Chain-of-thought', files: ['prompt/chain-of-thought.ts'] },
  { number: 8, title: 'InstructGPT', files: ['train/sft.ts', 'train/reward.ts', 'train/ppo.ts'] },
  { number: 9, title: 'RLHF (Christiano; Ziegler)', files: ['train/preferences.ts'] },
  { number: 10, title: 'PPO', files: ['train/ppo.ts'] },
  { number: 11, title: 'FLAN', files: ['data/instruction/flan.ts'] },
  {
    number: 12,
    title: 'Flan-T5',
    files: ['models/t5.ts'],
    checks: {
      same: {
        what: 'the gated feed-forward network and the untied head of T5 1.1, outputs and gradients within 1e-4',
        by: ['tests/parity/parity.test.ts', 'tests/models/t5.test.ts'],
        result: HELD,
      },
      usable: {
        what: 'generate, forward and grad on its checkpoints',
        by: ['tests/cli/generate.test.ts', 'tests/cli/forward.test.ts'],
        result: HELD,
      },
    },
  },
  {
    number: 13,
    title: 'LLaMA',
    files: ['models/llama.ts'],
    checks: {
      same: {
        what: 'outputs and gradients within 1e-4, every rope scaling; SmolLM2-135M’s tokens under greedy decoding',
        by: ['tests/parity/parity.test.ts', 'tests/generate/smollm2.test.ts'],
        result: HELD,
      },
      learns: {
        what: 'pre-trained on the text of four npm packages, as the model that `jackdaw serve` opens with',
        by: ['recipes/jackdaw-base.ts'],
        result: '3.164 nats a token on held-out documents, from 8.358; weights/jackdaw-base',
      },
      usable: {
        what: 'load and generate, from folders, GGUF and the hub',
        by: ['tests/generate/smollm2.test.ts', 'tests/cli/generate.test.ts'],
        result: HELD,
      },
    },
  },
  { number: 14, title: 'Kosmos-1', files: ['models/kosmos1.ts'] },
  { number: 15, title: 'GLM', files: ['models/glm.ts'] },
  { number: 16, title: 'BERT', files: ['models/bert.ts'] },
  { number: 17, title: 'LaMDA', files: ['agent/lamda.ts'] },
  {
    number: 18,
    title: 'T5',
    files: ['models/t5.ts'],
    checks: {
      same: {
        what: 'outputs and gradients within 1e-4 of transformers; buckets of distances one by one; beams token for token',
        by: ['tests/parity/parity.test.ts', 'tests/models/t5.test.ts'],
        result: HELD,
      },
      usable: {
        what: 'generate, forward and grad on its checkpoints',
        by: ['tests/cli/generate.test.ts', 'tests/cli/forward.test.ts'],
        result: HELD,
      },
    },
  },
  {
    number: 19,
    title: 'Pre-train, prompt, predict',
    files: ['prompt/cloze.ts', 'prompt/verbalizer.ts', 'prompt/soft-prompt.ts'],
  },
  { number: 20, title: 'Multimodal chain-of-thought', files: ['models/multimodal-cot.ts'] },
  { number: 21, title: 'Offsite-tuning', files: ['train/offsite.ts'] },
  { number: 22, title: 'Emergent abilities', files: ['eval/scaling.ts'] },
  { number: 23, title: 'Zero-shot reasoners', files: ['prompt/zero-shot-cot.ts'] },
  { number: 24, title: 'PaLM', files: ['models/palm.ts'] },
  { number: 25, title: 'PaLM-E', files: ['models/palm-e.ts'] },
  { number: 26, title: 'Visual ChatGPT', files: ['agent/visual-chat.ts'] },
  { number: 27, title: 'decaNLP (MQAN)', files: ['models/mqan.ts'] },
  {
    number: 28,
    title: 'ResNet',
    files: ['models/resnet.ts'],
    checks: {
      same: {
        what: 'outputs, gradients and running statistics within 1e-4, both layers, v1 and v1.5, both kinds of stem',
        by: ['tests/models/resnet.test.ts'],
        result: HELD,
      },
      usable: { what: 'forward and grad on its checkpoints', by: ['tests/models/resnet.test.ts'], result: HELD },
    },
  },
  { number: 29, title: 'Flan Collection', files: ['data/instruction/flan-collection.ts'] },
  { number: 30, title: 'ViT', files: ['models/vit.ts'] },
  { number: 31, title: 'Swin', files: ['models/swin.ts'] },
  { number: 32, title: 'Swin V2', files: ['models/swin-v2.ts'] },
  {
    number: 33,
    title: 'DDPM',
    files: ['models/ddpm.ts', 'train/diffusion.ts', 'generate/samplers.ts'],
    checks: {
      same: {
        what: 'the U-Net’s outputs and all gradients within 1e-4 of diffusers; a DDPM pipeline’s pictures from the same noise',
        by: ['tests/parity/parity.test.ts', 'tests/generate/samplers.test.ts', 'tests/load/pipeline.test.ts'],
        result: HELD,
      },
      learns: {
        what: 'digits at 16 × 16: most of what it draws is recognised as a digit, and guidance draws the digit asked for',
        by: ['recipes/ddpm/digits.ts'],
      },
      usable: {
        what: 'forward and grad on its checkpoints; sampling, guided by a gradient, in ten lines',
        by: ['tests/generate/samplers.test.ts', 'tests/models/ddpm.test.ts'],
        result: HELD,
      },
    },
  },
  { number: 34, title: 'CLIP', files: ['models/clip.ts'] },
  { number: 35, title: 'CLIP-guided diffusion', files: ['generate/guided-diffusion.ts'] },
  { number: 36, title: 'DALL·E 2 (unCLIP)', files: ['models/unclip.ts'] },
  { number: 37, title: 'Latent / Stable Diffusion', files: ['models/latent-diffusion.ts'] },
  { number: 38, title: 'Aligning text-to-image by human feedback', files: ['train/image-feedback.ts'] },
  { number: 39, title: 'ControlNet, InstructPix2Pix', files: ['models/controlnet.ts'] },
]

/** `works`: all three checks hold. `in part`: the file is there. `planned`: nothing is. */
export type PaperState = 'works' | 'in part' | 'planned'

/** @param exists - whether a path from the root of the repository is there */
export function paperState({ files, checks }: Paper, exists: (path: string) => boolean): PaperState {
  if (!files.every((file) => exists(`src/${file}`))) return 'planned'
  return CHECKS.every((name) => checks?.[name]?.result && !checks[name].missed && checks[name].by.every(exists))
    ? 'works'
    : 'in part'
}

/** One check in a few words: what came out, or what is lacking. */
export function checkResult(check: Check | undefined, exists: (path: string) => boolean): string {
  if (!check) return 'to be built'
  const lacking = check.by.filter((path) => !exists(path))
  if (lacking.length > 0) return `lacks ${lacking.join(', ')}`
  return check.result ?? 'not measured yet'
}

/** docs/papers.md. */
export function papersMarkdown(exists: (path: string) => boolean): string {
  const link = (path: string): string => `[${path.split('/').at(-1)}](../${path})`
  const cell = (paper: Paper, name: CheckName): string => {
    const check = paper.checks?.[name]
    return check
      ? `${check.what} (${check.by.map(link).join(', ')}): **${checkResult(check, exists)}**`
      : checkResult(check, exists)
  }
  const states = PAPERS.map((paper) => paperState(paper, exists))
  const count = (state: PaperState): number => states.filter((one) => one === state).length
  const built = PAPERS.filter((_, i) => states[i] !== 'planned')
  const planned = PAPERS.filter((_, i) => states[i] === 'planned')
  const rows = built.map(
    (paper) =>
      `| ${paper.number} | ${paper.title} | ${paper.files.map((file) => link(`src/${file}`)).join(', ')} | ` +
      `${CHECKS.map((name) => cell(paper, name)).join(' | ')} | ${paperState(paper, exists)} |`,
  )
  return [
    '# Papers',
    '',
    'Written by `jackdaw papers --write` from [src/papers.ts](../src/papers.ts); a test keeps the two alike.',
    '',
    'A paper works when all three hold: **same** (its numbers agree with a reference implementation), **learns**',
    '(trained here, it reaches the outcome), **usable** (in a few lines, from the command line and the library).',
    '',
    `${count('works')} work, ${count('in part')} are there in part, ${count('planned')} are planned.`,
    '',
    '| # | paper | file | same | learns | usable | state |',
    '|---|---|---|---|---|---|---|',
    ...rows,
    '',
    '## Planned',
    '',
    '| # | paper | file to be |',
    '|---|---|---|',
    ...planned.map(
      ({ number, title, files }) => `| ${number} | ${title} | ${files.map((file) => `\`src/${file}\``).join(', ')} |`,
    ),
    '',
  ].join('\n')
}
