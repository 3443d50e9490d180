import type { Options } from 'react-markdown'
import rehypeKatex from 'rehype-katex'
import remarkMath from 'remark-math'
import type { Content, Tree } from './highlight.ts'
import 'katex/dist/katex.min.css'

/** Formulas, drawn by KaTeX, which follows no links and loads nothing. This module is loaded when first needed. */
export const remarkPlugins: NonNullable<Options['remarkPlugins']> = [[remarkMath, { singleDollarTextMath: false }]]
const limits = { strict: 'ignore', trust: false, maxSize: 40, maxExpand: 1000, errorColor: 'var(--danger)' } as const
export const rehypePlugins: NonNullable<Options['rehypePlugins']> = [[rehypeKatex, limits], reachable]

/** Wide formulas scroll, so the keyboard must reach them. */
function reachable(): (tree: Tree) => void {
  const visit = (nodes: readonly Content[]): void => {
    for (const node of nodes) {
      if (node.type !== 'element') continue
      const classes = node.properties.className
      if (!Array.isArray(classes) || !classes.includes('katex-display')) visit(node.children)
      else Object.assign(node.properties, { tabIndex: 0, role: 'group', ariaLabel: 'Formula' })
    }
  }
  return (tree) => visit(tree.children)
}
