import type { ImagePart } from '../../../src/server/wire.ts'
import { useFileUrl } from '../files.ts'
import type { Preview } from '../thread.ts'

/** A picture of a message, with its place kept while it loads. */
export function Picture({ part }: { part: ImagePart }) {
  const { fileId, width, height, alt } = part
  const { url, failed } = useFileUrl(fileId)
  if (failed) return <p className="picture-failed">The picture “{alt}” cannot be shown.</p>
  return (
    <a
      className="picture"
      href={url}
      target="_blank"
      rel="noopener"
      style={{ aspectRatio: `${width} / ${height}`, width }}
    >
      {url === undefined ? (
        <span className="visually-hidden">Loading {alt}</span>
      ) : (
        <img src={url} width={width} height={height} alt={alt} />
      )}
    </a>
  )
}

/** A picture while it is drawn. */
export function PicturePreview({ preview }: { preview: Preview }) {
  const { url, width, height, step, steps } = preview
  return (
    <figure className="picture-preview" style={{ width }}>
      <img src={url} width={width} height={height} alt={`Being drawn: step ${step} of ${steps}`} />
      <progress value={step} max={steps} aria-label="Drawing" />
    </figure>
  )
}
