import { useSyncExternalStore } from 'react'

/** A value that lives outside React and tells its readers when it changes. */
export class Observable<T> {
  #value: T
  readonly #listeners = new Set<() => void>()

  constructor(value: T) {
    this.#value = value
  }

  get value(): T {
    return this.#value
  }

  set value(next: T) {
    if (Object.is(next, this.#value)) return
    this.#value = next
    for (const listener of this.#listeners) listener()
  }

  subscribe = (listener: () => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }
}

export function useValue<T>(observable: Observable<T>): T {
  return useSyncExternalStore(observable.subscribe, () => observable.value)
}

/**
 * A part of a value: who reads it is drawn again when that part changes, and not with every change around it.
 * `select` answers with the same object while nothing of it changed.
 */
export function useSelected<T, Part>(observable: Observable<T>, select: (value: T) => Part): Part {
  return useSyncExternalStore(observable.subscribe, () => select(observable.value))
}
