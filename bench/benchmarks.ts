import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { packageRoot } from '../src/hub/open.ts'
import { exportedOnnx, madeUpGguf, modelFolder, q4Gguf, questionsFile } from './files.ts'
import { GPT_SIZES } from './gpt-sizes.ts'
import type { Benchmark, ContestantSpec } from './harness.ts'
import { LORA_SFT } from './lora-sft.ts'
import { SHAPED } from './model-shapes.ts'

/** Every benchmark: who takes part, what is measured, what is aimed at. */

export interface Settings {
  /** A SmolLM2-135M: a model reference. */
  readonly smollm2: string
  /** Where files made for the contestants are kept. */
  readonly folder: string
}

export interface BenchmarkPlan {
  readonly name: string
  readonly what: string
  /** Makes the files that the contestants load. */
  prepare(settings: Settings): Promise<Benchmark>
}

const peersFolder = join(packageRoot(), 'bench', 'peers')
const python = process.env.JACKDAW_BENCH_PYTHON ?? 'python3'
const INSTALL_PYTHON = 'pip install -r bench/peers/requirements.txt, and name that interpreter in JACKDAW_BENCH_PYTHON'
const INSTALL_NPM = 'npm install --prefix bench/peers'

const jackdaw = (script: string, ...args: string[]): ContestantSpec => ({
  name: 'jackdaw',
  command: [
    process.execPath,
    fileURLToPath(new URL(`jackdaw/${script}${extname(import.meta.url)}`, import.meta.url)),
    ...args,
  ],
})

const pythonPeer = (name: string, script: string, ...args: string[]): ContestantSpec => ({
  name,
  command: [python, join(peersFolder, script), ...args],
  install: INSTALL_PYTHON,
})

const npmPeer = (name: string, script: string, ...args: string[]): ContestantSpec => ({
  name,
  command: [process.execPath, join(peersFolder, script), ...args],
  install: INSTALL_NPM,
})

const gptTraining = (size: string): BenchmarkPlan => ({
  name: `gpt-train-${size}`,
  what: `training step of a GPT of ${size} parameters: forward, backward, clipping, AdamW`,
  prepare: async () => ({
    name: `gpt-train-${size}`,
    jackdaw: jackdaw('gpt-train', size),
    peers: ['eager', 'compile'].map((mode) =>
      pythonPeer(
        mode === 'eager' ? 'PyTorch eager' : 'torch.compile',
        'gpt_train.py',
        mode,
        JSON.stringify(GPT_SIZES[size]),
      ),
    ),
    measures: [
      {
        name: 'step',
        what: 'training step',
        unit: 'tokens/s',
        atLeast: { 'PyTorch eager': 1.15, 'torch.compile': 1 },
      },
    ],
  }),
})

const shapedPeer = (name: keyof typeof SHAPED): ContestantSpec =>
  pythonPeer('PyTorch eager', 'transformers_model.py', name, JSON.stringify(SHAPED[name].toConfig()))

const BESIDE_EAGER = { 'PyTorch eager': 1.15 }

const forwardAndStep = (name: 'bert-base' | 't5-small'): BenchmarkPlan => ({
  name,
  what: 'forward pass and training step in fp32, against the transformers library',
  prepare: async () => ({
    name,
    jackdaw: jackdaw('forward-step', name),
    peers: [shapedPeer(name)],
    measures: [
      { name: 'forward', what: 'forward pass, 4 × 128 tokens', unit: 'tokens/s', atLeast: BESIDE_EAGER },
      { name: 'step', what: 'training step, 4 × 128 tokens', unit: 'tokens/s', atLeast: BESIDE_EAGER },
    ],
  }),
})

const decoding = (name: string, model: (settings: Settings) => Promise<string>, least: number): BenchmarkPlan => ({
  name,
  what: 'decoding in 4 bits, against llama.cpp in Q4_0',
  async prepare(settings) {
    const file = await model(settings)
    return {
      name,
      jackdaw: jackdaw('decode', file),
      peers: [pythonPeer('llama.cpp', 'llama_cpp_decode.py', file)],
      measures: [
        { name: 'decode', what: '128 tokens after a prompt of 16', unit: 'tokens/s', atLeast: { 'llama.cpp': least } },
        { name: 'prompt', what: 'prompt of 512 tokens', unit: 'tokens/s', atLeast: { 'llama.cpp': 1.1 } },
        { name: 'chats', what: '8 sequences at once', unit: 'tokens/s', atLeast: { 'llama.cpp': 1.2 } },
      ],
    }
  },
})

export const BENCHMARKS: readonly BenchmarkPlan[] = [
  ...Object.keys(GPT_SIZES).map(gptTraining),
  decoding('decode-135M', ({ smollm2, folder }) => q4Gguf(smollm2, folder), 1.8),
  decoding('decode-0.6B', ({ folder }) => madeUpGguf(folder), 1.2),
  forwardAndStep('bert-base'),
  forwardAndStep('t5-small'),
  {
    name: 'gpt2-124M',
    what: 'prompt and decoding in fp32, against the transformers library',
    prepare: async () => ({
      name: 'gpt2-124M',
      jackdaw: jackdaw('decode', 'gpt2-124M'),
      peers: [shapedPeer('gpt2-124M')],
      measures: [
        { name: 'decode', what: '128 tokens after a prompt of 16', unit: 'tokens/s', atLeast: BESIDE_EAGER },
        { name: 'prompt', what: 'prompt of 512 tokens', unit: 'tokens/s', atLeast: BESIDE_EAGER },
        { name: 'chats', what: '8 sequences at once', unit: 'tokens/s', atLeast: BESIDE_EAGER },
      ],
    }),
  },
  {
    name: 'decode-npm',
    what: 'decoding in 4 bits, against what npm has',
    async prepare({ smollm2, folder }) {
      const file = await q4Gguf(smollm2, folder)
      return {
        name: 'decode-npm',
        jackdaw: jackdaw('decode', file),
        peers: [
          npmPeer('node-llama-cpp', 'node-llama-cpp.mjs', file),
          npmPeer('transformers.js', 'transformers-js.mjs', await exportedOnnx(file, folder)),
        ],
        measures: [
          {
            name: 'decode',
            what: '128 tokens after a prompt of 16',
            unit: 'tokens/s',
            atLeast: { 'node-llama-cpp': 2, 'transformers.js': 2 },
          },
        ],
      }
    },
  },
  {
    name: 'evaluate',
    what: 'questions of an evaluation of a 135M model in fp32, against lm-evaluation-harness',
    async prepare({ smollm2, folder }) {
      const files = [await modelFolder(smollm2, folder), questionsFile(folder)]
      const beside = { 'lm-evaluation-harness': 1.5 }
      return {
        name: 'evaluate',
        jackdaw: jackdaw('evaluate', ...files),
        peers: [pythonPeer('lm-evaluation-harness', 'lm_eval_questions.py', ...files)],
        measures: [
          { name: 'zero', what: 'five choices, no demonstration', unit: 'questions/s', atLeast: beside },
          { name: 'few', what: 'five choices, five demonstrations', unit: 'questions/s', atLeast: beside },
          { name: 'answers', what: 'answers of 32 tokens', unit: 'questions/s', atLeast: beside },
        ],
      }
    },
  },
  {
    name: 'lora-sft',
    what: 'fine-tuning a 135M model with LoRA on every linear layer, against PEFT and TRL',
    async prepare({ smollm2, folder }) {
      const files = await modelFolder(smollm2, folder)
      const shape = JSON.stringify(LORA_SFT)
      return {
        name: 'lora-sft',
        jackdaw: jackdaw('lora-sft', files),
        peers: [
          pythonPeer('PEFT', 'lora_sft.py', 'peft', files, shape),
          pythonPeer('TRL', 'lora_sft.py', 'trl', files, shape),
        ],
        measures: [
          { name: 'step', what: 'training step, 4 × 256 tokens', unit: 'tokens/s', atLeast: { PEFT: 1.15, TRL: 1.15 } },
          { name: 'memory', what: 'peak memory', unit: 'runs in 16 GB', atLeast: { PEFT: 1, TRL: 1 } },
        ],
      }
    },
  },
  {
    name: 'resnet-step',
    what: 'training step of a ResNet-18 on 32 × 32 pictures, batch 64',
    prepare: async () => ({
      name: 'resnet-step',
      jackdaw: jackdaw('resnet-step'),
      peers: [pythonPeer('PyTorch eager', 'resnet_step.py')],
      measures: [{ name: 'step', what: 'training step', unit: 'pictures/s', atLeast: { 'PyTorch eager': 0.9 } }],
    }),
  },
  {
    name: 'ppo-cartpole',
    what: 'PPO on CartPole, acting and learning, against PyTorch over Gymnasium',
    prepare: async () => ({
      name: 'ppo-cartpole',
      jackdaw: jackdaw('ppo-cartpole'),
      peers: [pythonPeer('PyTorch eager', 'ppo_cartpole.py')],
      measures: [{ name: 'update', what: 'update of 512 steps', unit: 'steps/s', atLeast: BESIDE_EAGER }],
    }),
  },
  {
    name: 'checkpoint',
    what: 'writing a resumable checkpoint of 124M parameters',
    prepare: async ({ folder }) => ({
      name: 'checkpoint',
      jackdaw: jackdaw('checkpoint', folder),
      peers: [],
      measures: [{ name: 'write', what: 'checkpoint of 124M parameters', unit: 'training steps', atMost: 1 }],
    }),
  },
  {
    name: 'memory',
    what: 'resident memory after loading a model in 4 bits',
    async prepare({ smollm2, folder }) {
      return {
        name: 'memory',
        jackdaw: jackdaw('memory', await q4Gguf(smollm2, folder)),
        peers: [],
        measures: [
          { name: 'resident', what: 'memory after loading 135M in 4 bits', unit: '× the weights', atMost: 2.5 },
        ],
      }
    },
  },
  {
    name: 'serve-start',
    what: 'from starting `jackdaw serve` to the first streamed token',
    prepare: async ({ folder }) => ({
      name: 'serve-start',
      jackdaw: jackdaw('serve-start', 'jackdaw-base', folder),
      peers: [],
      measures: [{ name: 'start', what: 'start to first token, embedded default', unit: 's', atMost: 2 }],
    }),
  },
]
