import { useId, useState } from 'react'
import { type NumberSetting, parseSetting } from '../settings.ts'

interface NumberFieldProps {
  setting: NumberSetting
  value: number | undefined
  onValue: (value: number | undefined) => void
}

export function NumberField({ setting, value, onValue }: NumberFieldProps) {
  const id = useId()
  // What is being typed, while it differs from what is set ("0." or something wrong).
  const [draft, setDraft] = useState<string | null>(null)
  const text = draft ?? (value === undefined ? '' : String(value))
  const parsed = parseSetting(setting, text)
  const error = 'error' in parsed ? parsed.error : null
  const { slider } = setting

  const type = (next: string) => {
    setDraft(next)
    const result = parseSetting(setting, next)
    if (!('error' in result)) onValue(result.value)
  }

  const number = (
    <input
      id={id}
      className="input"
      inputMode="decimal"
      autoComplete="off"
      placeholder={slider ? String(slider.rest) : 'default'}
      value={text}
      aria-invalid={error !== null}
      aria-describedby={`${id}-hint`}
      onChange={(event) => type(event.target.value)}
      onBlur={() => error === null && setDraft(null)}
    />
  )
  return (
    <div className={`field ${value === undefined ? 'setting-unset' : ''}`}>
      <label className="field-label" htmlFor={id}>
        {setting.label}
      </label>
      {slider ? (
        <div className="setting-range">
          <input
            type="range"
            aria-label={`${setting.label}, slider`}
            min={slider.min}
            max={slider.max}
            step={setting.step}
            value={value ?? slider.rest}
            onChange={(event) => {
              setDraft(null)
              onValue(Number(event.target.value))
            }}
          />
          {number}
        </div>
      ) : (
        number
      )}
      <p className={error ? 'field-error' : 'field-hint'} id={`${id}-hint`} role={error ? 'alert' : undefined}>
        {error ?? setting.hint}
      </p>
    </div>
  )
}
