import { createLowlight } from 'lowlight'
import { languages } from './languages.ts'

// rehype-highlight would do the same, but brings twice as many languages along.
const lowlight = createLowlight(languages)

export type Tree = ReturnType<typeof lowlight.highlight>
export type Content = Tree['children'][number]

export type CodeTree = Tree

/** A listing on its own, coloured. */
export const codeTree = (language: string, text: string): CodeTree => lowlight.highlight(language, text)

/** For rehype: colours the code blocks that name a language we know. */
export function highlightCode(): (tree: Tree) => void {
  return (tree) => colour(tree.children)
}

function colour(nodes: Content[]): void {
  for (const node of nodes) {
    if (node.type !== 'element') continue
    const code = node.tagName === 'pre' ? node.children[0] : undefined
    const language = code?.type === 'element' ? languageOf(code.properties.className) : undefined
    if (code?.type === 'element' && language !== undefined && lowlight.registered(language)) {
      const text = code.children.map((child) => (child.type === 'text' ? child.value : '')).join('')
      code.children = lowlight.highlight(language, text).children as typeof code.children
    } else {
      colour(node.children)
    }
  }
}

function languageOf(className: unknown): string | undefined {
  const names = Array.isArray(className) ? className : []
  const name = names.find((name) => typeof name === 'string' && name.startsWith('language-'))
  return typeof name === 'string' ? name.slice('language-'.length).toLowerCase() : undefined
}
