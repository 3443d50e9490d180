import { useId } from 'react'

interface TextFieldProps {
  label: string
  value: string
  rows?: number
  maxLength?: number
  onChange: (value: string) => void
}

/** What a demo is given to read. */
export function TextField({ label, value, rows = 2, maxLength = 1000, onChange }: TextFieldProps) {
  const id = useId()
  return (
    <div className="field">
      <label className="field-label" htmlFor={id}>
        {label}
      </label>
      <textarea
        id={id}
        className="input"
        rows={rows}
        value={value}
        maxLength={maxLength}
        spellCheck={false}
        onChange={(event) => onChange(event.target.value)}
      />
    </div>
  )
}
