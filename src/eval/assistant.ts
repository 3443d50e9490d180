/**
 * An assistant asked what it was not trained on: conversations of the held-out part, turn by turn, each with what the
 * assistant itself said before. Counted is what is right by the source, whatever its form.
 */

import type { Message } from '../data/instruction/conversation.ts'
import { isRight, judge } from '../data/instruction/gold-judge.ts'
import { KINDS, type Kind } from '../data/instruction/turn.ts'
import type { GeneratedConversation } from '../data/instruction/world.ts'

/**
 * Goes on with conversations, each for itself: the messages that follow, calls of tools with their results among them, the
 * last of which is the answer.
 */
export type Assistant = (
  conversations: readonly (readonly Message[])[],
) => Promise<readonly (readonly Message[])[]> | readonly (readonly Message[])[]

export interface AssistantScore {
  readonly asked: number
  readonly right: number
  /** Share that is right. */
  readonly accuracy: number
  /** Mean of the judge's scores. */
  readonly gold: number
}

export interface AssistantScores extends AssistantScore {
  readonly byKind: Readonly<Partial<Record<Kind, AssistantScore>>>
  /** The answers that are wrong, for reading. */
  readonly wrong: readonly { kind: Kind; question: string; answer: string; reference: string }[]
}

/** Asks the first turn of every conversation at once, then the second of those that have one, and so on. */
export async function scoreAssistant(
  assistant: Assistant,
  conversations: readonly GeneratedConversation[],
): Promise<AssistantScores> {
  const judged: { kind: Kind; right: boolean; gold: number }[] = []
  const wrong: AssistantScores['wrong'][number][] = []
  const said: Message[][] = conversations.map(() => [])
  const most = Math.max(0, ...conversations.map(({ turns }) => turns.length))
  for (let turn = 0; turn < most; turn++) {
    const asked = conversations.map((_, i) => i).filter((i) => turn < conversations[i].turns.length)
    for (const i of asked) said[i].push(conversations[i].conversation.messages[conversations[i].turns[turn].questionAt])
    const answers = await assistant(asked.map((i) => said[i]))
    for (const [k, i] of asked.entries()) {
      const { kind, expected } = conversations[i].turns[turn]
      said[i].push(...answers[k])
      const answer = answers[k].at(-1)?.content ?? ''
      const right = isRight(answer, expected)
      judged.push({ kind, right, gold: judge(answer, expected).score })
      if (!right) wrong.push({ kind, question: expected.question, answer, reference: expected.reference })
    }
  }
  const byKind = Object.fromEntries(
    KINDS.map((kind) => [kind, judged.filter((each) => each.kind === kind)] as const)
      .filter(([, some]) => some.length > 0)
      .map(([kind, some]) => [kind, sumOf(some)]),
  )
  return { ...sumOf(judged), byKind, wrong }
}

function sumOf(judged: readonly { right: boolean; gold: number }[]): AssistantScore {
  const right = judged.filter((each) => each.right).length
  const asked = judged.length
  return {
    ...{ asked, right, accuracy: asked === 0 ? 0 : right / asked },
    gold: asked === 0 ? 0 : judged.reduce((sum, { gold }) => sum + gold, 0) / asked,
  }
}
