import { useId } from 'react'

interface RangeFieldProps {
  label: string
  min: number
  max: number
  step?: number
  value: number
  onChange: (value: number) => void
}

export function RangeField({ label, min, max, step = 1, value, onChange }: RangeFieldProps) {
  const id = useId()
  return (
    <div className="demo-range">
      <label className="field-label" htmlFor={id}>
        <span>{label}</span>
        <output htmlFor={id}>{value}</output>
      </label>
      <input
        id={id}
        className="range"
        type="range"
        {...{ min, max, step, value }}
        onChange={(event) => onChange(Number(event.target.value))}
      />
    </div>
  )
}
