import type { ImagePart } from '../../../src/server/wire.ts'
import { useFileUrl } from '../files.ts'
import { IconButton } from './icon-button.tsx'

interface AttachmentsProps {
  images: readonly ImagePart[]
  /** How many are on their way to the server. */
  uploading: number
  onRemove: (fileId: string) => void
}

/** The pictures that go with the message that is being written. */
export function Attachments({ images, uploading, onRemove }: AttachmentsProps) {
  return (
    <>
      {images.length > 0 && (
        <ul className="attachments" aria-label="Pictures to send">
          {images.map((image) => (
            <li key={image.fileId}>
              <Thumbnail image={image} />
              <IconButton icon="close" label={`Remove ${image.alt}`} onClick={() => onRemove(image.fileId)} />
            </li>
          ))}
        </ul>
      )}
      <p className={uploading > 0 ? 'field-hint' : 'visually-hidden'} role="status">
        {uploading > 0 ? 'Adding …' : ''}
      </p>
    </>
  )
}

function Thumbnail({ image }: { image: ImagePart }) {
  const { url } = useFileUrl(image.fileId)
  return url === undefined ? null : <img src={url} alt={image.alt} />
}
