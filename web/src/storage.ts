type Key = 'theme' | 'settings' | 'apiKey' | 'arena' | 'voter'

/** Null also where the browser blocks storage: the page then works, and forgets. */
export function readStored(key: Key): string | null {
  try {
    return localStorage.getItem(key)
  } catch {
    return null
  }
}

/** Messages typed and not sent, by conversation: of this tab, and gone with it. */
export function readDrafts(): Readonly<Record<string, string>> {
  try {
    return JSON.parse(sessionStorage.getItem('drafts') ?? '{}') as Record<string, string>
  } catch {
    return {}
  }
}

export function writeDrafts(drafts: Readonly<Record<string, string>>): void {
  const kept = Object.entries(drafts).filter(([, text]) => text !== '')
  try {
    sessionStorage.setItem('drafts', JSON.stringify(Object.fromEntries(kept)))
  } catch {
    // As above; or there is more than the browser keeps.
  }
}

/** Null removes. */
export function writeStored(key: Key, value: string | null): void {
  try {
    if (value === null) localStorage.removeItem(key)
    else localStorage.setItem(key, value)
  } catch {
    // As above.
  }
}
