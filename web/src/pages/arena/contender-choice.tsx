import { useId } from 'react'
import type { Contender } from '../../../../src/server/wire.ts'
import { Icon } from '../../components/icon.tsx'
import { NumberField } from '../../components/number-field.tsx'
import type { Model } from '../../served.ts'
import { numberSettings } from '../../settings.ts'

interface ContenderChoiceProps {
  name: string
  models: readonly Model[]
  value: Contender
  /** Told how to change what is chosen by then: fields may report later than they were drawn. */
  onChange: (change: (chosen: Contender) => Contender) => void
}

/** Each answer has a seed of its own. */
const settable = numberSettings.filter(({ name }) => name !== 'seed')

/** A model, or any, and how its answers are drawn. */
export function ContenderChoice({ name, models, value, onChange }: ContenderChoiceProps) {
  const id = useId()
  const { model, settings = {} } = value
  const set = Object.keys(settings).length
  const isMissing = model !== undefined && !models.some((other) => other.id === model)
  return (
    <div className="contender">
      <label className="visually-hidden" htmlFor={id}>
        {name}
      </label>
      <span className="model-picker">
        <select
          id={id}
          className="select"
          value={model ?? ''}
          onChange={({ target }) => onChange((chosen) => ({ ...chosen, model: target.value || undefined }))}
        >
          <option value="">Any model</option>
          {isMissing && <option value={model}>{model} (not served)</option>}
          {models.map((one) => (
            <option key={one.id} value={one.id}>
              {one.id}
            </option>
          ))}
        </select>
        <Icon name="expand" />
      </span>
      <details>
        <summary>{set === 0 ? 'Usual settings' : `${set} ${set === 1 ? 'setting' : 'settings'} changed`}</summary>
        <div className="contender-settings">
          {settable.map((setting) => (
            <NumberField
              key={setting.name}
              setting={setting}
              value={settings[setting.name as keyof typeof settings]}
              onValue={(number) =>
                onChange((chosen) => ({ ...chosen, settings: withValue(chosen.settings ?? {}, setting.name, number) }))
              }
            />
          ))}
        </div>
      </details>
    </div>
  )
}

function withValue(settings: NonNullable<Contender['settings']>, name: string, value: number | undefined) {
  const kept = Object.entries(settings).filter(([other]) => other !== name)
  return Object.fromEntries(value === undefined ? kept : [...kept, [name, value]])
}
