/** Which names a server on TCP is asked by. */
import { isIP } from 'node:net'
import { hostname } from 'node:os'

/**
 * Whether the Host header of a request names this server: by an address, as localhost, by the name of this machine, or by the
 * host that it was told to listen on. A page on another site that lets its own name point to our address (DNS rebinding) has a
 * browser send that name. Programs that send no Host are no browser.
 */
export function isKnownHost(header: string | undefined, configured: string): boolean {
  if (header === undefined) return true
  const host = /^(?:\[([^\]]*)\]|([^:]*))(?::\d+)?$/.exec(header.toLowerCase())
  const name = (host?.[1] ?? host?.[2] ?? '').replace(/\.$/, '')
  return isIP(name) !== 0 || (name !== '' && ['localhost', hostname().toLowerCase(), configured.toLowerCase()].includes(name))
}
