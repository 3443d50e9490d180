import { useEffect, useState } from 'react'
import type { ImagePart } from '../../src/server/wire.ts'
import * as client from './client.ts'

/** What the server takes, and what a file chooser offers. */
export const pictureTypes = ['image/png', 'image/jpeg', 'image/gif', 'image/webp']

/** Keeps a picture on the server, to be part of a message. Throws what the server says where it does not take it. */
export async function upload(file: File): Promise<ImagePart> {
  const { id, width, height } = await client.postFile(file)
  return { type: 'image', fileId: id, width, height, alt: altOf(file.name) }
}

/** What a picture shows, as far as its name tells. */
export function altOf(name: string): string {
  const words = name
    .replace(/\.\w+$/, '')
    .replace(/[^\p{Letter}\p{Number}]+/gu, ' ')
    .trim()
  return words.slice(0, 200) || 'A picture'
}

const urls = new Map<string, Promise<string>>()

/** The file as an address in this page: an <img> could not send the server's key. Undefined until it is here. */
export function useFileUrl(id: string): { url?: string; failed?: true } {
  const [file, setFile] = useState<{ url?: string; failed?: true }>({})
  useEffect(() => {
    let isGone = false
    const url = urls.get(id) ?? client.getFile(id).then((blob) => URL.createObjectURL(blob))
    urls.set(id, url)
    url.then(
      (url) => !isGone && setFile({ url }),
      () => {
        urls.delete(id)
        if (!isGone) setFile({ failed: true })
      },
    )
    return () => {
      isGone = true
    }
  }, [id])
  return file
}
