import type { ComponentType } from 'react'

/** What can be tried on a paper's page: each demo one file, which comes when it is first looked at. */
export interface Demo {
  readonly name: string
  readonly title: string
  /** What it shows, in a sentence. */
  readonly shows: string
  readonly load: () => Promise<{ default: ComponentType }>
}

const nextToken: Demo = {
  name: 'next-token',
  title: 'The next token',
  shows:
    'A language model gives every token of its vocabulary a probability. Choose one, and the text goes on from there.',
  load: () => import('./next-token.tsx'),
}
const tokens: Demo = {
  name: 'tokens',
  title: 'What a model reads',
  shows: 'A tokenizer cuts a text into pieces of its vocabulary; a model sees their numbers and nothing else.',
  load: () => import('./tokens.tsx'),
}
const attention: Demo = {
  name: 'attention',
  title: 'Attention, head by head',
  shows: 'Each head of each layer takes, at every position, a weighted mean over the positions it may see.',
  load: () => import('./attention.tsx'),
}
const beams: Demo = {
  name: 'beams',
  title: 'Beam search as a tree',
  shows: 'The likeliest sequences are followed side by side; a likely first token may lead to an unlikely text.',
  load: () => import('./beams.tsx'),
}
const fewShot: Demo = {
  name: 'few-shot',
  title: 'Learning from examples in the prompt',
  shows: 'The same weights, more examples before the question: how probable does the right answer become?',
  load: () => import('./few-shot.tsx'),
}

const blanks: Demo = {
  name: 'blanks',
  title: 'Blanks, filled three ways',
  shows: 'BERT, T5 and GLM learn from the same lesson, what was left out of a text, and answer it each in its own way.',
  load: () => import('./blanks.tsx'),
}

const pointers: Demo = {
  name: 'pointers',
  title: 'Where an answer comes from',
  shows:
    'MQAN answers every task as a question about a context: each word is generated, or copied from where its pointers point.',
  load: () => import('./pointers.tsx'),
}

const cartpole: Demo = {
  name: 'cartpole',
  title: 'A pole on a cart',
  shows: 'A policy that learned by trial alone keeps a pole upright, fifty decisions a second. Push the pole, and see.',
  load: () => import('./cartpole.tsx'),
}

/** The one table of what is shown where. */
const demos: Readonly<Record<string, readonly Demo[]>> = {
  transformer: [attention, beams],
  gpt1: [nextToken, tokens],
  gpt2: [nextToken, attention, tokens],
  gpt3: [fewShot, nextToken],
  'in-context-learning': [fewShot],
  llama: [nextToken, attention, fewShot, tokens],
  bert: [blanks, tokens],
  glm: [blanks],
  t5: [blanks, beams, tokens],
  palm: [nextToken],
  prompting: [blanks, fewShot],
  codex: [tokens],
  decanlp: [pointers],
  ppo: [cartpole],
}

export const demosOf = (slug: string): readonly Demo[] => (Object.hasOwn(demos, slug) ? demos[slug] : [])
