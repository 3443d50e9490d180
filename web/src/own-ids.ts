import type { Content, Tree } from './highlight.ts'

/** The attributes in which footnotes name each other. */
const named = ['id', 'ariaDescribedBy']

/** For rehype: makes ids (of footnotes) differ from those of the other answers on the page. */
export function ownIds(prefix: string): (tree: Tree) => void {
  return (tree) => rename(tree.children, prefix)
}

function rename(nodes: readonly Content[], prefix: string): void {
  for (const node of nodes) {
    if (node.type !== 'element') continue
    for (const name of named) {
      const value = node.properties[name]
      if (typeof value === 'string') node.properties[name] = prefix + value
      else if (Array.isArray(value)) node.properties[name] = value.map((id) => prefix + id)
    }
    const { href } = node.properties
    if (typeof href === 'string' && href.startsWith('#')) node.properties.href = `#${prefix}${href.slice(1)}`
    rename(node.children, prefix)
  }
}
