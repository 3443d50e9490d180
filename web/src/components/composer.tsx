import { type ClipboardEvent, type DragEvent, type RefObject, useRef, useState } from 'react'
import type { ImagePart } from '../../../src/server/wire.ts'
import { messageOf } from '../client.ts'
import { pictureTypes, upload } from '../files.ts'
import { entersLines } from '../pointer.ts'
import { showToast } from '../toast.ts'
import { Attachments } from './attachments.tsx'
import { IconButton } from './icon-button.tsx'

interface ComposerProps {
  field: RefObject<HTMLTextAreaElement | null>
  text: string
  onText: (text: string) => void
  images: readonly ImagePart[]
  onImages: (change: (before: readonly ImagePart[]) => readonly ImagePart[]) => void
  /** The model takes pictures. */
  canSee: boolean
  placeholder: string
  busy: boolean
  onSend: (text: string) => Promise<void>
  onStop: () => void
}

export function Composer(props: ComposerProps) {
  const { field, text, onText, images, onImages, canSee, placeholder, busy, onSend, onStop } = props
  const [sending, setSending] = useState(false)
  const [uploading, setUploading] = useState(0)
  const chooser = useRef<HTMLInputElement>(null)
  const ready = (text.trim() !== '' || images.length > 0) && !busy && !sending && uploading === 0

  const submit = async () => {
    if (!ready) return
    setSending(true)
    try {
      await onSend(text)
    } finally {
      setSending(false)
    }
  }

  const add = async (files: readonly File[]) => {
    setUploading((count) => count + files.length)
    for (const file of files) {
      try {
        const image = await upload(file)
        onImages((before) => [...before, image])
      } catch (error) {
        showToast({ message: `${file.name} was not added: ${messageOf(error)}` })
      }
      setUploading((count) => count - 1)
    }
    // What is asked about them comes next.
    field.current?.focus()
  }

  /** Takes pictures that are pasted or dropped, and leaves everything else to the browser. */
  const take = (event: ClipboardEvent | DragEvent, data: DataTransfer) => {
    const pictures = [...data.files].filter(({ type }) => type.startsWith('image/'))
    if (!canSee || pictures.length === 0) return
    event.preventDefault()
    void add(pictures)
  }

  return (
    <form
      className="composer"
      aria-label="Message"
      onSubmit={(event) => {
        event.preventDefault()
        void submit()
      }}
      onDragOver={(event) => canSee && event.preventDefault()}
      onDrop={(event) => take(event, event.dataTransfer)}
    >
      <Attachments
        images={images}
        uploading={uploading}
        onRemove={(fileId) => onImages((before) => before.filter((image) => image.fileId !== fileId))}
      />
      <div className="composer-row">
        {canSee && (
          <>
            <IconButton
              className="composer-attach"
              icon="picture"
              label="Add pictures"
              onClick={() => chooser.current?.click()}
            />
            <input
              ref={chooser}
              type="file"
              hidden
              multiple
              accept={pictureTypes.join(',')}
              onChange={(event) => {
                const files = [...(event.target.files ?? [])]
                // The same file may be chosen again.
                event.target.value = ''
                void add(files)
              }}
            />
          </>
        )}
        <textarea
          ref={field}
          className="grows"
          rows={1}
          aria-label={placeholder}
          placeholder={placeholder}
          value={text}
          enterKeyHint={entersLines() ? 'enter' : 'send'}
          onChange={(event) => onText(event.target.value)}
          onPaste={(event) => take(event, event.clipboardData)}
          onKeyDown={(event) => {
            if (event.key !== 'Enter' || event.shiftKey || event.nativeEvent.isComposing || entersLines()) return
            event.preventDefault()
            void submit()
          }}
        />
        {busy ? (
          <IconButton className="composer-button" icon="stop" label="Stop (Esc)" onClick={onStop} />
        ) : (
          <IconButton className="composer-button" icon="send" label="Send" type="submit" disabled={!ready} />
        )}
      </div>
    </form>
  )
}
