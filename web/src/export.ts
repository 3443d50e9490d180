import type { Message, Part } from '../../src/server/wire.ts'
import { endings } from './endings.ts'
import { spelled } from './tool-call.ts'

type Turn = Pick<Message, 'role' | 'content' | 'model'> & Partial<Pick<Message, 'finishReason' | 'parts'>>

/** Pictures as what they show, tools as what was asked of them: the file holds text alone. */
const markdownOf = ({ content, parts = [] }: Turn): string =>
  parts.every(({ type }) => type === 'text') ? content.trim() : parts.map(partText).join('\n\n')

function partText(part: Part): string {
  switch (part.type) {
    case 'text':
      return part.text.trim()
    case 'image':
      return `*(picture: ${part.alt})*`
    case 'tool':
      return `> \`${spelled(part).replaceAll('`', "'")}\` → ${part.result.replace(/\s+/g, ' ').trim()}`
  }
}

/** The shown branch of a conversation as Markdown. */
export function toMarkdown(title: string, path: readonly Turn[]): string {
  const turns = path.map((turn) => {
    const { role, model, finishReason } = turn
    const who = role === 'user' ? 'You' : (model ?? 'The model')
    const ending = finishReason && endings[finishReason]
    return `## ${who}\n\n${markdownOf(turn)}\n${ending ? `\n*(${ending})*\n` : ''}`
  })
  return [`# ${title.replace(/\s+/g, ' ').trim() || 'Conversation'}\n`, ...turns].join('\n')
}

/** A name that every file system takes. */
export function fileName(title: string): string {
  const words = title
    .normalize('NFKC')
    .replace(/[^\p{Letter}\p{Number}]+/gu, ' ')
    .trim()
  const short = [...words].slice(0, 60).join('').trim().replaceAll(' ', '-')
  return `${short || 'conversation'}.md`
}

export const download = (name: string, text: string): void =>
  downloadFile(name, new Blob([text], { type: 'text/markdown' }))

export function downloadFile(name: string, file: Blob): void {
  const url = URL.createObjectURL(file)
  const link = document.createElement('a')
  link.href = url
  link.download = name
  link.click()
  URL.revokeObjectURL(url)
}
