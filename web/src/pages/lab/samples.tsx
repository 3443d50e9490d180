import { useQuery } from '@tanstack/react-query'
import { useEffect, useId, useState } from 'react'
import type { RunSample } from '../../../../src/server/wire.ts'
import { getSamplePicture, getSampleTexts, messageOf } from '../../client.ts'

interface SamplesProps {
  run: string
  /** Newest first. */
  samples: readonly RunSample[]
}

/** What the run showed of itself, each kind over its steps. */
export function Samples({ run, samples }: SamplesProps) {
  const kinds = new Map<string, RunSample[]>()
  for (const sample of samples) {
    const key = [sample.stage, sample.name, sample.kind].join(' ')
    kinds.set(key, [sample, ...(kinds.get(key) ?? [])])
  }
  return (
    <div className="samples">
      {Array.from(kinds, ([key, own]) => (
        <SampleStrip key={key} run={run} samples={own} />
      ))}
    </div>
  )
}

/** One kind, oldest first, with a slider over its steps; the newest is followed until another one is chosen. */
function SampleStrip({ run, samples }: { run: string; samples: readonly RunSample[] }) {
  const [chosen, setChosen] = useState<number | null>(null)
  const slider = useId()
  const at = Math.min(chosen ?? samples.length - 1, samples.length - 1)
  const sample = samples[at]
  const { stage, name, kind, step, file } = sample
  return (
    <section className="card sample" aria-label={`Samples: ${name}`}>
      <div className="card-head">
        <h3>{stage === null ? name : `${stage}: ${name}`}</h3>
        <label className="sample-step" htmlFor={slider}>
          after step {step.toLocaleString('en')}
        </label>
      </div>
      {samples.length > 1 && (
        <input
          id={slider}
          className="range"
          type="range"
          min={0}
          max={samples.length - 1}
          step={1}
          value={at}
          aria-valuetext={`after step ${step}`}
          onChange={(event) => {
            const next = Number(event.target.value)
            setChosen(next === samples.length - 1 ? null : next)
          }}
        />
      )}
      {kind === 'picture' ? (
        <Picture run={run} file={file} alt={`${name} after step ${step}`} />
      ) : (
        <Texts run={run} file={file} />
      )}
    </section>
  )
}

function Texts({ run, file }: { run: string; file: string }) {
  const texts = useQuery({
    queryKey: ['sample', run, file],
    queryFn: () => getSampleTexts(run, file),
    staleTime: Number.POSITIVE_INFINITY,
    placeholderData: (before) => before,
  })
  if (texts.isError) return <p className="field-error">{messageOf(texts.error)}</p>
  return (
    <ul className="sample-texts">
      {texts.data?.texts.map((text, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the same place, at another step.
        <li key={i}>{typeof text === 'string' ? text : JSON.stringify(text, null, 2)}</li>
      ))}
    </ul>
  )
}

function Picture({ run, file, alt }: { run: string; file: string; alt: string }) {
  const picture = useQuery({
    queryKey: ['sample', run, file],
    queryFn: () => getSamplePicture(run, file),
    staleTime: Number.POSITIVE_INFINITY,
    placeholderData: (before) => before,
  })
  const address = useBlobAddress(picture.data)
  if (picture.isError) return <p className="field-error">{messageOf(picture.error)}</p>
  return address && <img className="sample-picture" src={address} alt={alt} />
}

function useBlobAddress(blob: Blob | undefined): string | undefined {
  const [address, setAddress] = useState<string>()
  useEffect(() => {
    if (!blob) return
    const made = URL.createObjectURL(blob)
    setAddress(made)
    return () => URL.revokeObjectURL(made)
  }, [blob])
  return address
}
