import { Observable } from './observable.ts'

export interface Toast {
  message: string
  action?: { label: string; run: () => void }
}

const shownMs = 8000

export const toast = new Observable<Toast | null>(null)

/** `onGone` is called once: when the toast's time is over or another takes its place, but not after its action. */
let leave: () => void = () => undefined

export function showToast(next: Toast, onGone: () => void = () => undefined): void {
  leave()
  const close = () => {
    clearTimeout(timer)
    leave = () => undefined
    toast.value = null
  }
  const timer = setTimeout(() => leave(), shownMs)
  leave = () => {
    close()
    onGone()
  }
  const { action } = next
  toast.value = action
    ? {
        ...next,
        action: {
          label: action.label,
          run: () => {
            close()
            action.run()
          },
        },
      }
    : next
}
