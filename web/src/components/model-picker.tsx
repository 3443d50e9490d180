import type { Settings } from '../../../src/server/wire.ts'
import { useValue } from '../observable.ts'
import { modelOf, served } from '../served.ts'
import { Icon } from './icon.tsx'

export function ModelPicker({ settings, onModel }: { settings: Settings; onModel: (model: string) => void }) {
  const now = useValue(served)
  if (now.state !== 'ready') return <span className="model-picker" />
  const model = modelOf(now, settings)
  const missing = model ? null : settings.model
  return (
    <span className="model-picker">
      <select
        className="select"
        aria-label="Model"
        title={model?.description}
        value={model?.id ?? missing ?? ''}
        onChange={(event) => onModel(event.target.value)}
      >
        {missing && <option value={missing}>{missing} (not served)</option>}
        {now.models
          .filter(({ canWrite }) => canWrite)
          .map(({ id }) => (
            <option key={id} value={id}>
              {id}
            </option>
          ))}
      </select>
      <Icon name="expand" />
    </span>
  )
}
