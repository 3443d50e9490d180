import type { Message } from '../../../src/server/wire.ts'
import { numberSettings } from '../settings.ts'

/** What the answer was asked with: kept with it, whatever is set since. */
export function AnswerSettings({ id, message }: { id: string; message: Message }) {
  const { settings, model } = message
  return (
    <dl className="answer-settings" id={id}>
      {model !== null && (
        <div>
          <dt>Model</dt>
          <dd>{model}</dd>
        </div>
      )}
      {numberSettings.map(({ name, label }) => {
        const value = settings?.[name]
        return value === undefined ? null : (
          <div key={name}>
            <dt>{label}</dt>
            <dd>{value}</dd>
          </div>
        )
      })}
      {settings?.systemPrompt && (
        <div className="answer-settings-prompt">
          <dt>System prompt</dt>
          <dd>{settings.systemPrompt}</dd>
        </div>
      )}
    </dl>
  )
}
