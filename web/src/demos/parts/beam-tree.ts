import type { Candidate, Hypothesis } from '../../../../src/browser.ts'

/** A token of the tree: one that some sequence went on with, or ended with. */
export interface TreeNode {
  readonly id: number
  /** Null under the prompt. */
  readonly parent: TreeNode | null
  /** From 1. */
  readonly step: number
  /** Place among those of its step, from the top. */
  row: number
  /** log P of the whole sequence up to it. */
  readonly score: number
  readonly ends: boolean
  /** On the way of the sequence that won. */
  isBest: boolean
}

/** Takes what a search tells of its steps, and puts every token in its place. */
export class BeamTree {
  readonly steps: TreeNode[][] = []
  private going: TreeNode[] = []

  readonly add = (going: readonly Candidate[], ended: readonly Candidate[]): void => {
    const step = this.steps.length + 1
    const nodeOf =
      (ends: boolean) =>
      ({ from, id, score }: Candidate): TreeNode => ({
        ...{ id, score, step, ends },
        parent: this.going[from] ?? null,
        row: 0,
        isBest: false,
      })
    const next = going.map(nodeOf(false))
    // Children stand in the order of their parents, so that few lines cross.
    const nodes = [...next, ...ended.map(nodeOf(true))].sort(
      (a, b) => (a.parent?.row ?? 0) - (b.parent?.row ?? 0) || b.score - a.score,
    )
    for (const [row, node] of nodes.entries()) node.row = row
    this.steps.push(nodes)
    this.going = next
  }

  /** Marks the way of a sequence, as far as the tree has it. */
  mark({ ids }: Hypothesis): void {
    let parent: TreeNode | null = null
    for (const [i, id] of ids.entries()) {
      const node: TreeNode | undefined = this.steps[i]?.find((one) => one.id === id && one.parent === parent)
      if (!node) return
      node.isBest = true
      parent = node
    }
  }
}
