import { isIP } from 'node:net'
import { hostname } from 'node:os'

/** Which names in the Host header a server answers to. */
export interface AllowedHosts {
  /** @param name - lower case, without a port; an IPv6 address in brackets */
  has(name: string): boolean
  /** The sentence for who came by another name. */
  refusal(name: string): string
}

const loopback = ['localhost', '127.0.0.1', '[::1]']

/** Whether only this machine reaches an address. */
export const isLoopback = (host: string): boolean =>
  host === 'localhost' || host === '::1' || /^127\.\d+\.\d+\.\d+$/.test(host)

const isAddress = (name: string): boolean => isIP(name.replace(/^\[|\]$/g, '')) !== 0

/**
 * On loopback its own names are answered, on a network also addresses and the machine's name. A name of anyone's choosing
 * may lead to an address (DNS rebinding), but an address leads nowhere else.
 *
 * @param host - that the server listens on
 * @param more - names that are answered too; `*` for all
 */
export function allowedHosts(host: string, more: readonly string[] = []): AllowedHosts {
  const opened = !isLoopback(host)
  const own = hostname().toLowerCase()
  const names = new Set(
    [...loopback, isIP(host) === 6 ? `[${host}]` : host, ...(opened ? [own, `${own}.local`] : []), ...more].map(
      (name) => name.toLowerCase(),
    ),
  )
  return {
    has: (name) => names.has('*') || names.has(name) || (opened && isAddress(name)),
    refusal: (name) =>
      opened
        ? `This server does not answer as ${name || 'that'}; --allowed-host NAME lets it.`
        : `This server answers only as ${[...names].join(', ')}; --allowed-host adds a name, --host opens it to a network.`,
  }
}
