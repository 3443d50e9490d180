import { Observable } from '../observable.ts'

/** What the page in view can do when a shortcut or the palette asks for it. */
export interface PageCommands {
  newChat?: () => void
  settings?: () => void
  /** Shows what the search field stands in, where it is hidden. */
  search?: () => void
  stop?: () => void
  /** Null while there is nothing to download. */
  download?: (() => void) | null
}

export const pageCommands = new Observable<PageCommands>({})

/** The field that finds among what the page lists. */
export const searchField = new Observable<HTMLInputElement | null>(null)

/** `drawer` and `settings` are the chat's. */
export type Overlay = 'palette' | 'help' | 'drawer' | 'settings'

/** What lies over the page: one thing at a time. */
export const overlay = new Observable<Overlay | null>(null)

export function closeOverlay(): void {
  overlay.value = null
}
