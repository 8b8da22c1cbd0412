/** Which names a server on TCP is asked by. */
import { isIP } from 'node:net'
import { hostname } from 'node:os'

/**
 * Names that nobody on the internet can have point at an address: they are not of the public DNS, for good. ICANN has reserved
 * internal (as in host.docker.internal), RFC 6761 localhost, RFC 6762 local, RFC 8375 home.arpa. A name without a dot is none either,
 * as of a container or of a machine on the LAN.
 */
const PRIVATE = /^[^.]+$|\.(internal|localhost|local|home\.arpa)$/

/**
 * Whether the Host header of a request may name this server: an address, a private name, the name of this machine, or the host
 * that it was told to listen on. A page on another site that lets its own name point to our address (DNS rebinding) has a browser
 * send that name, which is a public one. Programs that send no Host are no browser.
 */
export function isKnownHost(header: string | undefined, configured: string): boolean {
  if (header === undefined) return true
  const { ipv6 = '', named = '' } = /^(?:\[(?<ipv6>[^\]]*)\]|(?<named>[^:]*))(?::\d+)?$/.exec(header.toLowerCase())?.groups ?? {}
  const name = named.replace(/\.$/, '')
  if (isIP(ipv6 || name) !== 0) return true
  return name !== '' && (PRIVATE.test(name) || [hostname().toLowerCase(), configured.toLowerCase()].includes(name))
}
