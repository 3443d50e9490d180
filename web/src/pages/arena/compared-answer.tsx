import { useDeferredValue } from 'react'
import type { ComparedAnswer } from '../../../../src/server/wire.ts'
import { CopyButton } from '../../components/copy-button.tsx'
import { Mark } from '../../components/mark.tsx'
import { RenderedText } from '../../components/rendered-text.tsx'
import { endings } from '../../endings.ts'
import { numberSettings } from '../../settings.ts'

/** The text of one answer; after the vote, who wrote it and how. */
export function ComparedAnswerText({ answer, name }: { answer: ComparedAnswer; name: string }) {
  const { finishReason, settings, model } = answer
  const content = useDeferredValue(answer.content)
  const live = finishReason === null
  const ending = finishReason && endings[finishReason]
  return (
    <>
      {content === '' && live ? (
        <p className="waiting">
          <Mark />
          <span className="visually-hidden">Waiting for the first word</span>
        </p>
      ) : (
        <RenderedText content={content} live={live} />
      )}
      {content === '' && !live && !ending && <p className="fine-print">It said nothing.</p>}
      {ending && <p className="fine-print">{ending}</p>}
      {model !== null && (
        <dl className="answer-settings compared-settings">
          {numberSettings.map(({ name, label }) => {
            const value = settings?.[name]
            return value === undefined ? null : (
              <div key={name}>
                <dt>{label}</dt>
                <dd>{value}</dd>
              </div>
            )
          })}
        </dl>
      )}
      {!live && content !== '' && <CopyButton label={`Copy ${name.toLowerCase()}`} read={() => content} />}
    </>
  )
}
