import type { Model } from '../served.ts'
import { Icon } from './icon.tsx'

interface BaseNoticeProps {
  model: Model
  /** Another model that this server has and that can chat. */
  chatModel: Model | undefined
}

/** Above the composer while the model knows no conversation, only one text and its answer. */
export function SingleTurnNotice({ model }: { model: Model }) {
  return (
    <aside className="notice" aria-label="About this model">
      <Icon name="info" />
      <p>
        <strong>{model.id}</strong> answers one instruction at a time: it reads your last message, and nothing before
        it.
      </p>
    </aside>
  )
}

/** Above the composer while the model was only pre-trained. */
export function BaseNotice({ model, chatModel }: BaseNoticeProps) {
  return (
    <aside className="notice" aria-label="About this model">
      <Icon name="quill" />
      <p>
        <strong>{model.id}</strong> was only pre-trained: it continues a text rather than answering a question. To chat,{' '}
        {chatModel ? (
          <>
            choose <strong>{chatModel.id}</strong> above.
          </>
        ) : (
          <>
            start with another model: <code>jackdaw serve --model hf:HuggingFaceTB/SmolLM2-135M-Instruct</code>
          </>
        )}
      </p>
    </aside>
  )
}
