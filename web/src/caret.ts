import type { Content, Tree } from './highlight.ts'

/** What text stands in; the caret goes into the last of them, however deep in lists and quotations it lies. */
const holders = new Set(['p', 'li', 'h1', 'h2', 'h3', 'h4', 'h5', 'h6', 'blockquote', 'ul', 'ol', 'pre', 'code'])

/** For rehype: marks the place where the next word will stand. */
export function caretAtEnd(): (tree: Tree) => void {
  return (tree) => {
    let place: { children: Content[] } = tree
    for (let inner = lastHolder(tree.children); inner; inner = lastHolder(inner.children)) place = inner
    place.children.push({ type: 'element', tagName: 'span', properties: { className: ['caret'] }, children: [] })
  }
}

/** The last child, where it is one that text stands in. Line breaks between blocks do not count, nor do footnotes. */
function lastHolder(children: readonly Content[]) {
  const last = children.findLast(
    (child) =>
      !(child.type === 'text' && child.value.trim() === '') &&
      !(child.type === 'element' && child.tagName === 'section'),
  )
  return last?.type === 'element' && holders.has(last.tagName) ? last : undefined
}
