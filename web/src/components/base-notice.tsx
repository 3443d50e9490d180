import type { Model } from '../served.ts'
import { Icon } from './icon.tsx'

/** Above the conversation while the model was only pre-trained. */
export function BaseNotice({ model }: { model: Model }) {
  return (
    <aside className="notice" aria-label="About this model">
      <Icon name="quill" />
      <p>
        <strong>{model.id}</strong> was only pre-trained: it continues a text rather than answering a question. To chat,
        start with another model: <code>jackdaw serve --model …</code>
      </p>
    </aside>
  )
}
